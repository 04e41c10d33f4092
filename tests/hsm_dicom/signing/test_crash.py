"""Whatever fails, and whenever the process dies, the original is what it was, or the file is whole and signed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import tokens
from hsm_dicom.dataset import DicomFileError
from hsm_dicom.signatures import Profile, SigningRequest, check_integrity, prepare, sign, sign_digest
from tests.hsm_dicom.dataset.samples import data_set, encode, sample
from tests.pki import Authority, Identity
from tests.softhsm import TestToken
from tokens.errors import TokenError
from tokens.pkcs11.ceremony import delete_key

SIGN = """
import os, resource, signal, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hsm_dicom.errors import DicomError
from hsm_dicom.signatures import SigningRequest, sign

path, target, key, certificate, trap = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
exec(trap)
try:
    with open(key, "rb") as k, open(certificate, "rb") as c:
        sign(path, target or None, load_pem_private_key(k.read(), None), SigningRequest(c.read()))
except DicomError as error:
    sys.exit(str(error))
"""

TRAPS = {
    "before writing": "os.write = die",
    "while copying": "os.copy_file_range = die; os.write = die",
    "before flushing": "os.fsync = die",
    "after flushing, before renaming": "os.replace = os.rename = os.link = die",
    "after renaming": "real = os.replace; os.replace = lambda *a: (real(*a), die())",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, signer: Identity) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("key")
    (folder / "key.pem").write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "certificate.der").write_bytes(signer.der)
    return folder / "key.pem", folder / "certificate.der"


@pytest.fixture(params=["small", "large"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that is written from memory, and one that is copied by the kernel."""
    ds = data_set()
    if request.param == "large":
        ds.PixelData = bytes(3 << 20)
    path = tmp_path / "original.dcm"
    path.write_bytes(encode(ds))
    return path


def sign_in_child(
    path: Path, target: Path | None, files: tuple[Path, Path], trap: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SIGN, str(path), str(target or ""), *map(str, files), trap]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("moment", TRAPS)
def test_a_process_killed_at_any_moment_leaves_the_original_or_a_whole_signed_file(
    moment: str, original: Path, files: tuple[Path, Path]
) -> None:
    before = original.read_bytes()
    assert sign_in_child(original, None, files, TRAPS[moment]).returncode == -9
    if original.read_bytes() != before:
        assert check_integrity(original).signatures[0].intact
        assert moment == "after renaming"
    assert sign_in_child(original, None, files, "").returncode == 0
    assert check_integrity(original).signatures[0].intact


@pytest.mark.parametrize("in_place", [True, False])
def test_a_full_disk_leaves_the_original_and_no_part_of_a_file(
    in_place: bool, original: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    before = original.read_bytes()
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before)}, {len(before)}))"
    )
    target = None if in_place else tmp_path / "out.dcm"
    result = sign_in_child(original, target, files, limit)
    assert result.returncode == 1
    assert "cannot be written: File too large; nothing was changed." in result.stderr
    assert original.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["original.dcm"]


def test_a_folder_that_may_not_be_written_is_named(
    original: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    with pytest.raises(DicomFileError, match="cannot be written: Not a directory; nothing was changed"):
        sign(original, original / "x.dcm", signer.key, base)


def test_a_failing_timestamp_leaves_the_original_untouched(
    original: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    before = original.read_bytes()

    def unreachable(_: bytes) -> bytes:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        sign(original, None, signer.key, base, timestamp=unreachable)
    assert original.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["original.dcm"]


@pytest.mark.parametrize(("kind", "profile"), [("rsa-2048", Profile.CREATOR), ("p256", Profile.NONE)])
def test_a_key_on_a_token_signs_and_one_that_is_gone_leaves_the_original(
    kind: str, profile: Profile, token: TestToken, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample())
    uri = token.generate("node", kind)
    with tokens.open_key(uri) as key:
        request = SigningRequest(authority.issue("node", key=key).der, profile)
        sign(path, None, key, request)
        sign(path, None, key, replace(request, profile=Profile.NONE, mac="SHA384", item=((0x00081140, 0),)))
        assert [s.intact for s in check_integrity(path).signatures] == [True, True]
        before = path.read_bytes()
        plan = prepare(path, request)
        with tokens.open_token(token.uri()) as connection:
            delete_key(connection, uri)
        with pytest.raises(TokenError):
            sign_digest(key, plan)
    assert path.read_bytes() == before
