"""What tests of signatures share: one CA, one RSA signer, one EC signer, the rich Data Set as a file, a desk."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.signatures import SigningRequest
from tests.hsm_dicom.dataset.samples import sample
from tests.hsm_dicom.validation.verdict_cases import Desk
from tests.pki import Authority, Identity, new_key


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("Signatures CA")


@pytest.fixture(scope="session")
def signer(authority: Authority) -> Identity:
    return authority.issue("Signer", key=new_key("rsa2048"))


@pytest.fixture(scope="session")
def ec_signer(authority: Authority) -> Identity:
    return authority.issue("EC signer", key=new_key("secp256r1"))


@pytest.fixture(scope="session")
def base(signer: Identity) -> SigningRequest:
    """The plainest request: everything signable, Base RSA, SHA-256."""
    return SigningRequest(signer.der)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """The rich Data Set in explicit VR little endian."""
    path = tmp_path / "native.dcm"
    path.write_bytes(sample())
    return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Where images are signed for verdicts, under the CA and by the signers of `verdict_cases`."""
    return Desk(tmp_path)
