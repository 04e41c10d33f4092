"""Files larger than memory should be: spans go from file to hash and to the new file, never as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, WriteRefusedError
from hsm_dicom.dataset.errors import FileChangedError
from hsm_dicom.signatures import Finding, SigningRequest, check_integrity, sign
from tests.hsm_dicom.dataset.samples import ITEM_END, SEQUENCE_END, data_set, element, encode, item, part10
from tests.hsm_dicom.signatures.peak import peak_of_signing, peak_of_verifying
from tests.pki import Identity

LARGE = 256 << 20
LIMIT_MIB = 120
PIXEL_DATA = 0x7FE00010


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory, signer: Identity) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "key.pem").write_bytes(signer.key_pem)
    (folder / "certificate.der").write_bytes(signer.der)
    return folder / "key.pem", folder / "certificate.der"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 256 MiB, whose pixels are a hole in the file."""
    path = tmp_path_factory.mktemp("large") / "large.dcm"
    ds = data_set()
    ds.PixelData = b""
    head = encode(ds)[:-4]
    path.write_bytes(head + LARGE.to_bytes(4, "little"))
    os.truncate(path, len(head) + 4 + LARGE)
    return path


@pytest.mark.slow
def test_a_large_file_is_signed_and_verified_in_little_memory(large: Path, credentials: tuple[Path, Path]) -> None:
    signed = large.with_name("signed.dcm")
    assert peak_of_signing(large, signed, *credentials) < LIMIT_MIB
    assert peak_of_verifying(signed) < LIMIT_MIB
    assert signed.stat().st_size > LARGE
    assert check_integrity(signed).signatures[0].intact


@pytest.mark.slow
def test_a_hundred_thousand_items_are_hashed_in_little_memory(credentials: tuple[Path, Path], tmp_path: Path) -> None:
    """More pieces than are kept: they are made anew while they are hashed."""
    entry = item(element(0x00081150, "UI", b"1.2.3\0") + ITEM_END, 0xFFFFFFFF)
    path, signed = tmp_path / "items.dcm", tmp_path / "signed.dcm"
    path.write_bytes(part10(element(0x00081140, "SQ", entry * 100_000 + SEQUENCE_END, 0xFFFFFFFF)))
    assert peak_of_signing(path, signed, *credentials) < LIMIT_MIB
    assert peak_of_verifying(signed) < LIMIT_MIB


def test_a_file_that_shrinks_or_changes_while_it_is_read_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    ds = data_set()
    ds.PixelData = bytes(2 << 20)
    path.write_bytes(encode(ds))
    with DicomFile.open(path) as file:
        file.check_unchanged()
        os.truncate(path, 4096)
        with pytest.raises(FileChangedError, match="became shorter"):
            file.value(file.main[PIXEL_DATA])
        with pytest.raises(FileChangedError, match="became shorter"):
            file.source.feed([(0, file.source.size, 1)], lambda _: None)
        with pytest.raises(FileChangedError, match="was changed"):
            file.check_unchanged()


def test_an_output_that_comes_into_being_meanwhile_is_left_alone(
    large: Path, signer: Identity, base: SigningRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.dcm"
    source = tmp_path / "in.dcm"
    source.write_bytes(encode(data_set()))
    flush = os.fsync

    def meanwhile(fd: int) -> None:
        target.write_bytes(b"somebody else's")
        flush(fd)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(WriteRefusedError, match="came into being meanwhile"):
        sign(source, target, signer.key, base)
    assert target.read_bytes() == b"somebody else's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.dcm", "out.dcm"]


def test_hashing_stops_where_signatures_cost_more_than_they_can_be_worth(
    signer: Identity, base: SigningRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(encode(data_set()))
    for tags in (None, (0x00100010,), (0x00100020,)):
        sign(path, None, signer.key, SigningRequest(signer.der, base.profile, tags=tags))
    assert all(signature.intact for signature in check_integrity(path).signatures)
    monkeypatch.setattr("hsm_dicom.signatures.digests.LARGEST_EFFORT", 0)
    findings = [(signature.finding, signature.reason) for signature in check_integrity(path).signatures]
    assert findings[0] == (Finding.INTACT, "")
    assert findings[1][0] is findings[2][0] is Finding.UNCHECKABLE
    assert "no more were checked" in findings[1][1]
