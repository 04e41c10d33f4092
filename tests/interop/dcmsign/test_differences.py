"""Where dcmsign (DCMTK 3.6.7) and we part, and why; and re-encodings that a signature survives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, MalformedDataSetError
from hsm_dicom.signatures import SigningRequest, add_timestamp, check_integrity, dump_macs, remove_all, sign
from hsm_dicom.signatures.profiles.rules import Profile
from tests.hsm_dicom.dataset.samples import data_set, element, encode, item, part10, shipped
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Identity

SHIPPED = (
    *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm", "SC_rgb_rle_16bit_2frame.dcm"),
    *("693_J2KI.dcm", "image_dfl.dcm", "liver_expb_1frame.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"),
    *("JPEG2000.dcm", "examples_ybr_color.dcm", "SC_rgb_gdcm_KY.dcm", "badVR.dcm"),
)


def converted(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["dcmconv", *options, source, target], check=True, timeout=30)
    return target


def test_a_second_patient_name_is_ok_for_dcmsign_and_refused_here(
    samples: dict[str, Path], dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    """dcmsign hashes one of the two, viewers show the other: a forged name under a good signature."""
    signed = tmp_path / "x.dcm"
    sign(samples["native"], signed, signer.key, request_)
    data = signed.read_bytes()
    with DicomFile.open(signed) as file:
        at = file.main[0x00100010].end
    signed.write_bytes(data[:at] + element(0x00100010, "PN", b"Forged") + data[at:])
    assert dcmsign.accepts(signed)
    with pytest.raises(MalformedDataSetError, match="is there twice"):
        check_integrity(signed)


@pytest.mark.parametrize("value", [b"CT  ", b"CT    ", b"  ", b"C\\  "])
def test_surplus_padding_is_signed_as_it_is_and_named_because_dcmsign_takes_it_away(
    value: bytes, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    source, signed = tmp_path / "in.dcm", tmp_path / "out.dcm"
    nested = element(0x00081140, "SQ", item(element(0x00081155, "UI", b"1.2.3 ")))
    source.write_bytes(part10(element(0x00080060, "CS", value) + nested))
    report = sign(source, signed, signer.key, request_)
    assert report.overpadded == (0x00080060, 0x00081140)
    assert check_integrity(signed).signatures[0].intact
    assert not dcmsign.accepts(signed)


@pytest.mark.parametrize("value", [b"CT", b"CT1 ", b" CT1", b"A\\B ", b""])
def test_ordinary_padding_is_the_same_for_both(
    value: bytes, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    source, signed = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(part10(element(0x00080060, "CS", value) + element(0x0020000D, "UI", b"1.2.3\0")))
    assert sign(source, signed, signer.key, request_).overpadded == ()
    assert dcmsign.accepts(signed)


@pytest.mark.parametrize("pixel_representation", [None, 0, 1])
@pytest.mark.parametrize("waveform_bits", [None, 8, 16])
def test_vrs_that_implicit_vr_leaves_open_are_chosen_as_dcmsign_does(
    pixel_representation: int | None, waveform_bits: int | None, dcmsign: Dcmsign, tmp_path: Path
) -> None:
    from pydicom._dicom_dict import DicomDictionary

    values = {tag: bytes(6) for tag, row in DicomDictionary.items() if " or " in row[0] and tag >> 16 >= 8}
    values |= {0x50003000: bytes(6), 0x60003000: bytes(6), 0x60023000: bytes(6), 0x00080018: b"1.2\0"}
    if pixel_representation is not None:
        values[0x00280103] = pixel_representation.to_bytes(2, "little")
    if waveform_bits is not None:
        values[0x54001004] = waveform_bits.to_bytes(2, "little")
    body = b"".join(
        (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + len(v).to_bytes(4, "little") + v
        for tag, v in sorted(values.items())
    )
    source, signed = tmp_path / "in.dcm", tmp_path / "theirs.dcm"
    source.write_bytes(part10(body, "1.2.840.10008.1.2"))
    stream = dcmsign.sign(source, signed)
    (signature,) = check_integrity(signed).signatures
    assert signature.intact, signature.reason
    assert Path(*dump_macs(signed, tmp_path)).read_bytes() == stream


def test_private_elements_that_dcmsign_knows_from_its_dictionary_are_checked_by_ours(
    dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    """In implicit VR nothing tells a private element's VR: we sign none of them, but check those that others signed."""
    source = converted(shipped("CT_small.dcm"), tmp_path / "in.dcm", "+ti")
    theirs, ours = tmp_path / "theirs.dcm", tmp_path / "ours.dcm"
    stream = dcmsign.sign(source, theirs)
    (signature,) = check_integrity(theirs).signatures
    assert signature.intact, signature.reason
    assert signature.coverage is not None
    assert 0x00091004 in signature.coverage.signed
    assert Path(*dump_macs(theirs, tmp_path)).read_bytes() == stream
    assert 0x00091004 in sign(source, ours, signer.key, request_).left_out
    assert dcmsign.accepts(ours)


@pytest.mark.parametrize("options", [("+te", "-e"), ("+te", "+e"), ("+tb",), ("+td",), ("+te", "+g")])
def test_a_signature_survives_re_encoding_that_keeps_vrs_and_values(
    options: tuple[str, ...], signer: Identity, request_: SigningRequest, tmp_path: Path, samples: dict[str, Path]
) -> None:
    signed = tmp_path / "x.dcm"
    sign(samples["native"], signed, signer.key, request_)
    (signature,) = check_integrity(converted(signed, tmp_path / "y.dcm", *options)).signatures
    assert signature.intact, signature.reason


def test_dcmsign_finds_nothing_where_we_removed_everything_and_we_where_dcmsign_did(
    samples: dict[str, Path], dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    signed, ours, theirs = (tmp_path / f"{n}.dcm" for n in "abc")
    sign(samples["undefined"], signed, signer.key, request_)
    sign(signed, None, signer.key, SigningRequest(signer.der, Profile.BASE, item=((0x00081140, 0),)))
    remove_all(signed, ours)
    assert ours.read_bytes() == samples["undefined"].read_bytes()
    assert dcmsign.verify(ours).returncode == 100
    assert dcmsign.run("+ra", signed, theirs).returncode == 0
    assert check_integrity(theirs).signatures == ()


def test_all_shipped_images_that_we_sign_are_good_for_dcmsign_unless_named_overpadded(
    dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    named = set()
    for name in SHIPPED:
        target = tmp_path / name
        if sign(shipped(name), target, signer.key, request_).overpadded:
            named.add(name)
        assert check_integrity(target).signatures[0].intact
        assert dcmsign.accepts(target) is (name not in named), name
    assert named == {"examples_ybr_color.dcm", "SC_rgb_gdcm_KY.dcm"}


def test_a_dcmsign_file_takes_a_timestamp_of_ours_where_dcmsign_puts_its_own(
    samples: dict[str, Path], dcmsign: Dcmsign, tmp_path: Path
) -> None:
    signed = tmp_path / "x.dcm"
    dcmsign.sign(samples["implicit"], signed)
    (before,) = check_integrity(signed).signatures
    add_timestamp(signed, before.uid, b"\x30\x03\x02\x01\x00", None)
    (after,) = check_integrity(signed).signatures
    assert after.intact
    assert (after.timestamp_type, after.timestamp) == ("CMS_TSP", b"\x30\x03\x02\x01\x00")
    assert dcmsign.accepts(signed, "-tv")


def test_a_data_set_in_each_overlay_and_byte_order_gives_one_stream(
    dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    ds = data_set()
    ds.add_new(0x00189087, "FD", [1.0, 2.0])
    ds.add_new(0x00660016, "OF", bytes(8))
    ds.add_new(0x00200052, "UI", "1.2")
    source = tmp_path / "in.dcm"
    source.write_bytes(encode(ds))
    big = converted(source, tmp_path / "big.dcm", "+tb")
    signed = tmp_path / "out.dcm"
    sign(big, signed, signer.key, request_)
    assert dcmsign.accepts(signed)
    assert check_integrity(converted(signed, tmp_path / "little.dcm", "+te")).signatures[0].intact
