"""What the tests against dcmsign share: one CA, one signer, and every kind of sample on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.signatures import SigningRequest
from tests.hsm_dicom.dataset.samples import KINDS, sample
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Authority, Identity, new_key


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("Signatures CA")


@pytest.fixture(scope="session")
def signer(authority: Authority) -> Identity:
    """A signer whose certificate has an odd number of bytes, so that it stands padded in files."""
    for length in range(1, 9):
        identity = authority.issue("S" * length, key=new_key("rsa2048"))
        if len(identity.der) % 2:
            return identity
    raise AssertionError("no odd certificate came out")


@pytest.fixture(scope="session")
def dcmsign(tmp_path_factory: pytest.TempPathFactory, authority: Authority, signer: Identity) -> Dcmsign:
    return Dcmsign(tmp_path_factory.mktemp("dcmsign"), authority, signer)


@pytest.fixture(scope="session")
def request_(signer: Identity) -> SigningRequest:
    """The plainest request: everything signable, Base RSA, SHA-256."""
    return SigningRequest(signer.der)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The rich Data Set in every encoding."""
    folder = tmp_path_factory.mktemp("samples")
    paths = {kind: folder / f"{kind}.dcm" for kind in KINDS}
    for kind, path in paths.items():
        path.write_bytes(sample(kind))
    return paths
