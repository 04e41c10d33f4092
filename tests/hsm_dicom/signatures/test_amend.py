"""Signatures go in and out without a trace on anything else, down to the MAC Parameters Items they shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from hsm_dicom.dataset import WriteRefusedError
from hsm_dicom.signatures import (
    SignatureError,
    SigningRequest,
    add_timestamp,
    check_integrity,
    list_signatures,
    remove,
    remove_all,
    sign,
)
from hsm_dicom.signatures.errors import NoSuchSignatureError
from tests.hsm_dicom.dataset.samples import KINDS, sample
from tests.pki import Identity

ITEM = ((0x00081140, 2),)
TOKEN = b"\x30\x03\x02\x01\x07"


@pytest.fixture(params=KINDS)
def unsigned(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "unsigned.dcm"
    path.write_bytes(sample(request.param))
    return path


def inflated(path: Path) -> bytes:
    """The bytes that count: deflating anew need not give the same ones."""
    if "1.2.840.10008.1.2.1.99" not in str(pydicom.dcmread(path).file_meta.TransferSyntaxUID):
        return path.read_bytes()
    from hsm_dicom.dataset import DicomFile

    with DicomFile.open(path) as file:
        return file.source.read(0, file.source.size)


def test_removing_what_was_added_gives_back_every_byte(
    unsigned: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    signed = tmp_path / "signed.dcm"
    first = sign(unsigned, signed, signer.key, base).uid
    second = sign(signed, None, signer.key, replace(base, item=ITEM)).uid
    third = sign(signed, None, signer.key, base).uid

    assert remove(signed, [second], None) == (second,)
    assert [s.uid for s in check_integrity(signed).signatures if s.intact] == [first, third]
    assert remove(signed, [third], None) == (third,)
    only_first = inflated(signed)
    assert [s.uid for s in check_integrity(signed).signatures if s.intact] == [first]
    assert remove(signed, [first], tmp_path / "again.dcm") == (first,)
    assert inflated(tmp_path / "again.dcm") == inflated(unsigned)
    assert inflated(signed) == only_first

    sign(signed, None, signer.key, replace(base, item=ITEM))
    assert len(remove_all(signed, None)) == 2
    assert inflated(signed) == inflated(unsigned)


def test_a_shared_mac_parameters_item_stays_until_its_last_signature_goes(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    first, second = (sign(native, None, signer.key, base).uid for _ in range(2))
    ds = pydicom.dcmread(native)
    ds[0x4FFE0001].value.pop()
    ds[0xFFFAFFFA].value[1].MACIDNumber = 0
    ds.save_as(native)
    assert [s.mac_id for s in list_signatures(native)] == [0, 0]
    remove(native, [second], None)
    (left,) = check_integrity(native).signatures
    assert (left.uid, left.intact) == (first, True)
    remove(native, [first], None)
    assert native.read_bytes().count(b"\xfe\x4f\x01\x00") == 0


def test_removing_what_is_not_there_names_it_and_writes_nothing(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    with pytest.raises(NoSuchSignatureError, match="no signature to remove"):
        remove_all(native, tmp_path / "x.dcm")
    sign(native, None, signer.key, base)
    before = native.read_bytes()
    with pytest.raises(NoSuchSignatureError, match=r"no signature 1\.2\.3"):
        remove(native, ["1.2.3", list_signatures(native)[0].uid], None)
    with pytest.raises(WriteRefusedError, match="source itself"):
        remove_all(native, native)
    assert native.read_bytes() == before


def test_removing_all_takes_unreadable_signatures_and_orphaned_parameters_along(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    before = pydicom.dcmread(native)
    sign(native, None, signer.key, replace(base, item=ITEM))
    sign(native, None, signer.key, base)
    ds = pydicom.dcmread(native)
    del ds[0xFFFAFFFA].value[0].DigitalSignatureUID
    del ds.ReferencedImageSequence[2][0xFFFAFFFA]
    ds.save_as(native)
    assert remove_all(native, None) == ("",)
    assert pydicom.dcmread(native) == before


def test_a_timestamp_is_added_to_one_signature_and_breaks_none(
    unsigned: Path, signer: Identity, base: SigningRequest
) -> None:
    outer = sign(unsigned, None, signer.key, replace(base, purpose=3)).uid
    inner = sign(unsigned, None, signer.key, replace(base, item=ITEM)).uid
    before = inflated(unsigned)
    for uid in (inner, outer):
        add_timestamp(unsigned, uid, TOKEN, None)
        with pytest.raises(SignatureError, match="has a time stamp already"):
            add_timestamp(unsigned, uid, TOKEN, None)
    for signature in check_integrity(unsigned).signatures:
        assert signature.intact, signature.reason
        assert (signature.timestamp_type, signature.timestamp) == ("CMS_TSP", TOKEN)
    assert len(inflated(unsigned)) > len(before)
    with pytest.raises(NoSuchSignatureError, match=r"no signature 1\.2\.3"):
        add_timestamp(unsigned, "1.2.3", TOKEN, None)


def test_a_timestamp_taken_while_signing_is_over_the_signature_value(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    seen = []

    def authority(signature: bytes) -> bytes:
        seen.append(signature)
        return TOKEN

    assert sign(native, None, signer.key, base, timestamp=authority).timestamped
    (signature,) = check_integrity(native).signatures
    assert (signature.intact, signature.timestamp, [signature.signature]) == (True, TOKEN, seen)


def test_listing_tells_what_signatures_say_without_checking_them(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    assert list_signatures(native) == ()
    report = sign(native, None, signer.key, replace(base, purpose=13))
    (listed,) = list_signatures(native)
    assert (listed.uid, listed.tags, listed.mac_algorithm) == (report.uid, report.signed, "SHA256")
    assert (str(listed.purpose), listed.defect) == ("Review Signature (13, ASTM-sigpurpose)", "")
