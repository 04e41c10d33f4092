"""What is odd about an intact signature is a remark, and accuses nobody."""

from __future__ import annotations

import zlib
from pathlib import Path

import pydicom
import pytest

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.transfer_syntax import transfer_syntax
from hsm_dicom.signatures import Finding, check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.signatures.creation import create
from hsm_dicom.trust import Sourced, TrustStore
from hsm_dicom.validation.validator import Cause, Indication, Outcome, Validator
from tests.hsm_dicom.dataset.frames import jpeg_frame, rle_frame
from tests.hsm_dicom.dataset.samples import element, part10
from tests.hsm_dicom.signatures.encapsulated_objects import encapsulated_object, pixels
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, Desk, codes, image, only, validator
from tests.pki import new_key

JPEG_BASELINE, RLE, JPIP_DEFLATE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.95"


def in_implicit_vr(path: Path) -> Path:
    """The object as a router writes it that does not keep VRs."""
    target = path.with_suffix(".implicit")
    read = pydicom.dcmread(path)
    read.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    read.save_as(target, implicit_vr=True, little_endian=True)
    return target


def explicit(desk: Desk, **vrs: str) -> Path:
    """An object without private elements, whose VRs are these."""
    read = pydicom.dcmread(image())
    read.remove_private_tags()
    del read.DataSetTrailingPadding
    read.preamble = bytes(128)
    read.PixelRepresentation = 1
    read.add_new(0x00281101, "US", [256, 0, 16])
    for keyword, vr in vrs.items():
        read[keyword].VR = vr
    path = desk.folder / "explicit.dcm"
    read.save_as(path)
    return path


@pytest.mark.parametrize(
    ("vrs", "clause"),
    [
        ({}, ""),
        ({"PixelData": "OB"}, "read as OB what may be OB or OW"),
        ({"RedPaletteColorLookupTableDescriptor": "SS"}, "read as SS what may be US or SS"),
        (
            {"PixelData": "OB", "RedPaletteColorLookupTableDescriptor": "SS"},
            "read as OB what may be OB or OW and as SS what may be US or SS",
        ),
    ],
)
def test_an_object_that_was_converted_to_implicit_vr_is_valid_but(desk: Desk, vrs: dict[str, str], clause: str) -> None:
    converted = in_implicit_vr(desk.sign(explicit(desk, **vrs)))
    one = only(validator().validate(check_integrity(converted)))
    assert one.text == (f"valid, but {clause}" if clause else "valid")
    assert codes(one) == ([AnomalyCode.CONVERTED] if clause else [])


def test_a_converted_object_that_was_changed_is_invalid_in_every_reading(desk: Desk) -> None:
    converted = in_implicit_vr(desk.sign(explicit(desk, PixelData="OB")))
    converted.write_bytes(converted.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    one = only(validator().validate(check_integrity(converted)))
    assert (one.indication, codes(one)) == (Indication.INVALID, [Cause.ALTERED])


def test_four_readings_of_an_object_are_the_most(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = in_implicit_vr(desk.sign(explicit(desk)))
    converted.write_bytes(converted.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    opened, really = [], DicomFile.open
    monkeypatch.setattr(DicomFile, "open", lambda *a, **options: opened.append(options) or really(*a, **options))
    check_integrity(converted)
    assert len(opened) == 4


def test_jpip_deflate_is_inflated(desk: Desk) -> None:
    for uid in (JPIP_DEFLATE, "1.2.840.10008.1.2.4.205"):
        assert transfer_syntax(uid).deflated  # type: ignore[union-attr]
    plain = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4.5\0")
    plain += element(0x00080060, "CS", b"OT") + element(0x00287FE0, "UR", b"http://pixels.example/1 ")
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflater.compress(plain) + deflater.flush()
    source = desk.folder / "jpip.dcm"
    source.write_bytes(part10(body + b"\0" * (len(body) % 2), JPIP_DEFLATE))
    one = only(validator().validate(desk.verified(source)))
    assert one.indication.good
    assert 0x00287FE0 in one.signature.coverage.signed  # type: ignore[union-attr]


def test_two_signatures_with_one_uid_are_remarked_upon(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class SameUid:
        int = 4711

    monkeypatch.setattr(create.uuid, "uuid4", SameUid)
    verdict = validator().validate(check_integrity(desk.sign(desk.sign())))
    assert [codes(one) for one in verdict.signatures] == [[AnomalyCode.SHARED_UID]] * 2
    assert verdict.outcome is Outcome.GOOD


def test_another_certificate_for_the_same_key_is_remarked_upon(desk: Desk) -> None:
    other = CA.issue("CT room, renewed", key=SIGNER.key)
    verdict = validator().validate(check_integrity(desk.sign(desk.sign(), other)))
    assert [codes(one) for one in verdict.signatures] == [[AnomalyCode.OTHER_CERTIFICATE]] * 2
    crls = [Sourced(CA.crl(), "ca.crl")]
    given = Validator.from_stores(TrustStore([CA.certificate], [other.certificate], crls))
    one = only(given.validate(desk.verified()))
    assert codes(one) == [AnomalyCode.OTHER_CERTIFICATE]
    assert "the certificate of CN=CT room\\, renewed, which was given, is for the same key" in one.text


def test_a_ca_as_signer_is_remarked_upon(desk: Desk) -> None:
    below = CA.authority("Devices CA", key=new_key("rsa2048", 5), usages=("digital_signature", "key_cert_sign"))
    assert codes(only(validator().validate(desk.verified(signer=below))))[0] == AnomalyCode.SIGNED_BY_CA


@pytest.mark.parametrize(("offset", "is_odd"), [("+2359", True), ("-1201", True), ("+1400", False), ("-1200", False)])
def test_an_offset_of_no_place_on_earth_is_remarked_upon(
    desk: Desk, offset: str, is_odd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = create.NewElement

    def with_offset(tag: int, vr: str, value: object) -> object:
        return really(tag, vr, f"20260101120000.000000{offset}".encode() if vr == "DT" else value)

    monkeypatch.setattr(create, "NewElement", with_offset)
    one = only(validator().validate(desk.verified()))
    assert (AnomalyCode.ODD_OFFSET in codes(one)) is is_odd
    assert ("has the UTC offset +2359" in one.text) is (offset == "+2359")


def test_native_pixels_under_a_compressed_transfer_syntax_are_remarked_upon(desk: Desk) -> None:
    uid = JPEG_BASELINE.encode()
    native = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4.5\0")
    native += element(0x7FE00010, "OB", b"\1\2\3\4")
    source = desk.folder / "native.dcm"
    source.write_bytes(part10(native, uid.decode()))
    one = only(validator().validate(desk.verified(source)))
    assert one.indication is Indication.VALID_BUT
    assert "its Pixel Data is not encapsulated as Transfer Syntax 1.2.840.10008.1.2.4.50 says" in one.text


def test_rle_under_the_name_of_jpeg_is_remarked_upon(desk: Desk) -> None:
    source = desk.folder / "rle.dcm"
    source.write_bytes(encapsulated_object(RLE, pixels(rle_frame())))
    signed = desk.sign(source)
    assert AnomalyCode.OTHER_ENCODING not in codes(only(validator().validate(check_integrity(signed))))
    read = pydicom.dcmread(signed)
    read.file_meta.TransferSyntaxUID = JPEG_BASELINE
    read[0x4FFE0001].value[0].MACCalculationTransferSyntaxUID = JPEG_BASELINE
    path = desk.folder / "renamed.dcm"
    read.save_as(path)
    one = only(validator().validate(check_integrity(path)))
    assert one.signature.finding is Finding.INTACT
    assert AnomalyCode.OTHER_ENCODING in codes(one)


def test_jpeg_as_jpeg_is_not_remarked_upon(desk: Desk) -> None:
    source = desk.folder / "jpeg.dcm"
    source.write_bytes(encapsulated_object(JPEG_BASELINE, pixels(jpeg_frame())))
    assert AnomalyCode.OTHER_ENCODING not in codes(only(validator().validate(desk.verified(source))))


def test_no_reason_is_told_twice(desk: Desk) -> None:
    """The character set was among the elements that are not covered as well as a reason of its own."""
    one = only(validator().validate(desk.verified(tags=(0x00100010, 0x00100020))))
    assert len({ground.code for ground in one.grounds}) == len(one.grounds)
    assert "SpecificCharacterSet" not in one.text
