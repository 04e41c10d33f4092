"""Verification says what is covered and what is not, and never good of what is not exactly what was signed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from cryptography import x509
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile, MalformedDataSetError
from hsm_dicom.signatures import (
    Finding,
    Profile,
    Share,
    SigningRequest,
    VerifiedSignature,
    check_integrity,
    list_signatures,
    sign,
)
from hsm_dicom.signatures.read import parse_date_time
from hsm_dicom.trust.der import without_pad_byte
from tests.hsm_dicom.dataset.samples import data_set, element, encode
from tests.pki import Identity

PATIENT_NAME, PATIENT_ID, PIXEL_DATA = 0x00100010, 0x00100020, 0x7FE00010
MAC_PARAMETERS, SIGNATURES = 0x4FFE0001, 0xFFFAFFFA


@pytest.fixture
def signed(native: Path, signer: Identity, base: SigningRequest) -> Path:
    sign(native, None, signer.key, base)
    return native


def only(path: Path) -> VerifiedSignature:
    (signature,) = check_integrity(path).signatures
    return signature


def edited(path: Path, edit: object) -> VerifiedSignature:
    """The verdict after pydicom loaded the file, the edit was made, and pydicom wrote it."""
    ds = pydicom.dcmread(path)
    assert callable(edit)
    edit(ds)
    ds.save_as(path)
    return only(path)


def set_value(keyword: str, value: object) -> object:
    return lambda ds: setattr(ds, keyword, value)


def test_a_file_without_signatures_has_none(native: Path) -> None:
    result = check_integrity(native)
    assert result.signatures == ()
    assert (result.identity.patient_name, result.identity.sop_instance_uid) == ("Muster^Märta", "1.2.3.4.5")


def test_everything_covered_is_named_with_identity_and_pixels(signed: Path) -> None:
    covers = only(signed).coverage
    assert covers is not None
    assert covers.pixel_data is Share.COVERED
    assert dict(covers.identity) == dict.fromkeys(("patient", "study", "series", "SOP instance"), Share.COVERED)
    assert (covers.open, covers.missing, covers.unsignable) == ((), (), (0x00291002,))
    assert covers.private_open == (0x00291002,)
    assert covers.character_set_open is False


def test_what_was_added_since_is_named_and_breaks_nothing(signed: Path) -> None:
    signature = edited(signed, set_value("StudyDescription", "added"))
    assert signature.intact
    assert signature.coverage is not None
    assert signature.coverage.open == (0x00081030,)


def test_a_signature_over_little_says_what_is_open(native: Path, signer: Identity, base: SigningRequest) -> None:
    sign(native, None, signer.key, replace(base, tags=(PATIENT_NAME, 0x0020000E)))
    covers = only(native).coverage
    assert covers is not None
    assert covers.pixel_data is Share.NOT_COVERED
    assert dict(covers.identity) == {
        "patient": Share.NOT_COVERED,
        "study": Share.NOT_COVERED,
        "series": Share.COVERED,
        "SOP instance": Share.NOT_COVERED,
    }
    assert covers.character_set_open is True
    assert covers.private_open == (0x00290010, 0x00291001, 0x00291002)


@pytest.mark.parametrize(
    ("edit", "finding", "reason"),
    [
        (set_value("PatientName", "Other"), Finding.BROKEN, "not what was signed"),
        (set_value("PixelData", bytes(512)), Finding.BROKEN, "not what was signed"),
        (lambda ds: ds.__delitem__("PatientName"), Finding.BROKEN, "PatientName was signed and is missing"),
        (lambda ds: ds.ReferencedImageSequence.reverse(), Finding.BROKEN, "not what was signed"),
        (lambda ds: ds.ReferencedImageSequence.pop(), Finding.BROKEN, "not what was signed"),
        (lambda ds: setattr(ds["PatientID"], "VR", "SH"), Finding.BROKEN, "not what was signed"),
        (
            lambda ds: ds.ReferencedImageSequence[1].add_new(0x00090001, "UN", b"ab"),
            Finding.UNCHECKABLE,
            "ReferencedImageSequence is listed as signed but cannot be",
        ),
        (lambda ds: setattr(mac(ds), "MACAlgorithm", "SHA384"), Finding.BROKEN, "not what was signed"),
        (lambda ds: setattr(mac(ds), "MACAlgorithm", "CRC32"), Finding.UNCHECKABLE, "CRC32"),
        (lambda ds: setattr(mac(ds), "MACIDNumber", 9), Finding.UNCHECKABLE, "no MAC Parameters Item"),
        (lambda ds: ds.__delitem__(MAC_PARAMETERS), Finding.UNCHECKABLE, "no MAC Parameters Sequence"),
        (lambda ds: ds[MAC_PARAMETERS].value.append(mac(ds)), Finding.UNCHECKABLE, "two MAC Parameters Items"),
        (lambda ds: mac(ds).__delitem__("DataElementsSigned"), Finding.UNCHECKABLE, "DataElementsSigned is missing"),
        (lambda ds: setattr(mac(ds), "DataElementsSigned", None), Finding.UNCHECKABLE, "is empty"),
        (lambda ds: mac(ds).DataElementsSigned.reverse(), Finding.UNCHECKABLE, "ascending"),
        (
            lambda ds: setattr(mac(ds), "MACCalculationTransferSyntaxUID", "1.2.840.10008.1.2.5"),
            Finding.UNCHECKABLE,
            "calculated in Transfer Syntax",
        ),
        (lambda ds: setattr(own(ds), "CertificateType", "OTHER"), Finding.UNCHECKABLE, "OTHER"),
        (lambda ds: setattr(own(ds), "CertificateOfSigner", b"junk"), Finding.UNCHECKABLE, "not a readable"),
        (lambda ds: unused_bits(own(ds)), Finding.UNCHECKABLE, "not a readable"),
        (lambda ds: setattr(own(ds), "Signature", bytes(256)), Finding.BROKEN, "not what was signed"),
        (lambda ds: setattr(own(ds), "Signature", own(ds).Signature + b"\0\0"), Finding.BROKEN, "not what"),
        (lambda ds: setattr(own(ds)["Signature"], "VR", "OW"), Finding.UNCHECKABLE, "VR OW instead of OB"),
        (lambda ds: setattr(own(ds), "DigitalSignatureDateTime", "20200101"), Finding.BROKEN, "not what"),
        (lambda ds: setattr(own(ds), "DigitalSignatureUID", "1.2.3"), Finding.BROKEN, "not what was signed"),
        (lambda ds: own(ds).add_new(0x00100010, "PN", "Extra"), Finding.BROKEN, "not what was signed"),
        (
            lambda ds: setattr(own(ds), "DigitalSignaturePurposeCodeSequence", Sequence([Dataset(), Dataset()])),
            Finding.UNCHECKABLE,
            "exactly one Item",
        ),
    ],
)
def test_any_tampering_is_found_and_named(signed: Path, edit: object, finding: Finding, reason: str) -> None:
    signature = edited(signed, edit)
    assert signature.finding is finding
    assert reason in signature.reason
    assert signature.profiles == ()


def mac(ds: Dataset) -> Dataset:
    item = ds[MAC_PARAMETERS].value[0]
    assert isinstance(item, Dataset)
    return item


def own(ds: Dataset) -> Dataset:
    item = ds[SIGNATURES].value[0]
    assert isinstance(item, Dataset)
    return item


def unused_bits(item: Dataset) -> None:
    """Let the BIT STRING of the certificate's signature claim that its last bit does not count."""
    certificate = bytearray(without_pad_byte(item.CertificateOfSigner))
    signature = x509.load_der_x509_certificate(bytes(certificate)).signature
    certificate[-len(signature) - 1] = 1
    item.CertificateOfSigner = bytes(certificate)


def test_a_forged_second_patient_name_is_refused_at_every_level(signed: Path) -> None:
    data = signed.read_bytes()
    with DicomFile.open(signed) as file:
        at = file.main[PATIENT_NAME].start
    forged = element(PATIENT_NAME, "PN", b"Forged")
    signed.write_bytes(data[:at] + forged + data[at:])
    with pytest.raises(MalformedDataSetError, match="is there twice"):
        check_integrity(signed)


def test_the_order_of_readers_does_not_matter_to_lengths(signed: Path) -> None:
    """Rewriting sequences with undefined lengths changes no covered byte (PS3.3 C.12.1.1.3.1.2)."""

    def undefine(ds: Dataset) -> None:
        for item in ds.iterall():
            if item.VR == "SQ":
                item.is_undefined_length = True

    assert edited(signed, undefine).intact


def test_in_implicit_vr_private_elements_are_indeterminate(signed: Path) -> None:
    ds = pydicom.dcmread(signed)
    signed.write_bytes(encode(ds, "implicit"))
    signature = only(signed)
    assert signature.finding is Finding.UNCHECKABLE
    assert "(0029,1001) private is listed as signed but cannot be" in signature.reason


def test_one_bad_signature_hides_no_good_one(signed: Path, signer: Identity, base: SigningRequest) -> None:
    sign(signed, None, signer.key, replace(base, tags=(PATIENT_ID,)))
    sign(signed, None, signer.key, replace(base, item=((0x00081140, 0),)))
    ds = pydicom.dcmread(signed)
    ds.PatientName = "Other"
    ds.save_as(signed)
    assert [s.finding for s in check_integrity(signed).signatures] == [Finding.BROKEN, Finding.INTACT, Finding.INTACT]


def test_an_outer_signature_does_not_cover_inner_ones(signed: Path, signer: Identity, base: SigningRequest) -> None:
    sign(signed, None, signer.key, replace(base, item=((0x00081140, 0),)))
    assert [s.intact for s in check_integrity(signed).signatures] == [True, True]


def test_signatures_in_original_attributes_are_history(signed: Path, signer: Identity, base: SigningRequest) -> None:
    ds = pydicom.dcmread(signed)
    before = Dataset()
    for tag in (PATIENT_NAME, MAC_PARAMETERS, SIGNATURES):
        before[tag] = ds[tag]
        del ds[tag]
    original = Dataset()
    original.ModifiedAttributesSequence = Sequence([before])
    ds.PatientName = "New Name"
    ds.OriginalAttributesSequence = Sequence([original])
    ds.save_as(signed)
    historic = only(signed)
    assert (historic.finding, historic.coverage) == (Finding.HISTORIC, None)
    assert historic.place == ((0x04000561, 0), (0x04000550, 0))
    sign(signed, None, signer.key, base)
    assert [s.finding for s in check_integrity(signed).signatures] == [Finding.INTACT, Finding.HISTORIC]
    assert [s.historic for s in list_signatures(signed)] == [False, True]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20240102030405.678901+0200", "2024-01-02T01:04:05.678901"),
        ("20240102030405-0330", "2024-01-02T06:34:05"),
        ("20240102030405.5+0000", "2024-01-02T03:04:05.500000"),
        ("20240102030405", None),
        ("20240102", None),
        ("20241302030405+0000", None),
        ("20240102030405+9900", None),
        ("2024010203040५+0000", None),
    ],
)
def test_a_claimed_time_without_an_offset_is_no_time(text: str, utc: str | None) -> None:
    time = parse_date_time(text)
    assert (time and (time - time.utcoffset()).replace(tzinfo=None).isoformat()) == utc  # type: ignore[operator]


def test_which_profiles_are_met_is_found_by_checking(native: Path, signer: Identity, base: SigningRequest) -> None:
    sign(native, None, signer.key, base)
    assert only(native).profiles == (Profile.BASE, Profile.CREATOR, Profile.AUTHORIZATION)
    ds = pydicom.dcmread(native)
    ds.ContentDate = "20240101"
    ds.save_as(native)
    assert only(native).profiles == (Profile.BASE,)


def test_text_in_an_item_needs_its_own_character_set_to_be_safe(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    sign(native, None, signer.key, replace(base, item=((0x00081140, 0),)))
    covers = only(native).coverage
    assert covers is not None
    assert covers.character_set_open is True
    assert covers.pixel_data is Share.ABSENT


def test_an_object_without_signable_character_set_reports_none_open(
    signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    ds = data_set()
    del ds.SpecificCharacterSet
    ds.PatientName = "Muster^Maria"
    path = tmp_path / "x.dcm"
    path.write_bytes(encode(ds))
    sign(path, None, signer.key, base)
    assert only(path).coverage.character_set_open is False  # type: ignore[union-attr]
    ds = pydicom.dcmread(path)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.save_as(path)
    signature = only(path)
    assert signature.intact
    assert signature.coverage.character_set_open is True  # type: ignore[union-attr]
