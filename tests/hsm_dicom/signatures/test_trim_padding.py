"""`--trim-padding`: a copy without surplus padding is signed, and nothing else of the object changes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.errors import WriteRefusedError
from hsm_dicom.signatures import SigningRequest, check_integrity, sign
from hsm_dicom.signatures.errors import SignatureError
from hsm_dicom.signing.resume import find_earlier_signature
from tests.hsm_dicom.dataset.samples import KINDS, element, encode, item, part10, shipped
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Authority, Identity


def overpadded(kind: str) -> bytes:
    """Surplus padding at three levels, in all encodings of lengths, beside strings that are as they should be."""
    ds, outer, inner = Dataset(), Dataset(), Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4.5", "OT"
    ds.add_new(0x00080080, "LO", b"Hospital    ")
    ds.add_new(0x00080005, "CS", b"ISO_IR 192")
    ds.add_new(0x00100010, "PN", b"Muster^Anna   ")
    ds.add_new(0x00104000, "LT", b"  ")
    outer.add_new(0x00080050, "SH", b"A1    ")
    inner.add_new(0x00080104, "LO", b"meaning   ")
    inner.add_new(0x00080100, "SH", b"1 ")
    outer.PurposeOfReferenceCodeSequence = Sequence([Dataset(), inner])
    ds.ReferencedImageSequence = Sequence([Dataset(), outer])
    ds.Rows = ds.Columns = 2
    if kind == "undefined":
        for one in ds.iterall():
            if one.VR == "SQ":
                element.is_undefined_length = True
    return encode(ds, kind)


@pytest.fixture
def trimming(base: SigningRequest) -> SigningRequest:
    return replace(base, trim_padding=True)


@pytest.fixture
def dcmsign(tmp_path: Path, authority: Authority, signer: Identity) -> Dcmsign:
    return Dcmsign(tmp_path, authority, signer)


@pytest.mark.interop
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "table" not in kind])
def test_surplus_padding_is_taken_away_at_every_level_and_named(
    kind: str, signer: Identity, base: SigningRequest, trimming: SigningRequest, dcmsign: Dcmsign, tmp_path: Path
) -> None:
    source, target, plain = tmp_path / "in.dcm", tmp_path / "out.dcm", tmp_path / "plain.dcm"
    source.write_bytes(overpadded(kind))
    before = source.read_bytes()
    assert sign(source, plain, signer.key, base).overpadded
    assert not dcmsign.accepts(plain)
    report = sign(source, target, signer.key, trimming)
    assert report.overpadded == ()
    assert report.repaired == (
        "14 octets of surplus padding were removed from 5 strings: InstitutionName, "
        "ReferencedImageSequence[1].AccessionNumber, "
        "ReferencedImageSequence[1].PurposeOfReferenceCodeSequence[1].CodeMeaning and 2 more",
    )
    assert source.read_bytes() == before
    assert check_integrity(target).signatures[0].intact
    assert dcmsign.accepts(target)
    with DicomFile.open(target, note_padding=True) as file:
        assert file.overpadded == ()
    one, other = pydicom.dcmread(source), pydicom.dcmread(target)
    del other[0x4FFE0001], other[0xFFFAFFFA]
    assert one == other, "pydicom shows the same values"


@pytest.mark.interop
def test_a_program_of_dcmtk_that_writes_the_file_again_leaves_the_signature_as_it_is(
    signer: Identity, base: SigningRequest, trimming: SigningRequest, tmp_path: Path
) -> None:
    source = shipped("examples_ybr_color.dcm")
    for request, survives in ((base, False), (trimming, True)):
        signed, rewritten = tmp_path / "signed.dcm", tmp_path / "rewritten.dcm"
        sign(source, signed, signer.key, request, overwrite=True)
        subprocess.run(["dcmconv", signed, rewritten], check=True, timeout=30)
        assert check_integrity(rewritten).signatures[0].intact is survives


@pytest.mark.interop
def test_uids_and_lengths_of_groups_follow(
    signer: Identity, trimming: SigningRequest, dcmsign: Dcmsign, tmp_path: Path
) -> None:
    inner = element(0x00081150, "UI", b"1.2.3 ") + element(0x00081155, "UI", b"1.2.34\0\0")
    group = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4.5\0")
    group += element(0x00080060, "CS", b"OT    ") + element(0x00081140, "SQ", item(inner))
    ends = element(0x00080001, "UL", (len(group) + 100).to_bytes(4, "little"))
    group = element(0x00080000, "UL", (len(ends + group)).to_bytes(4, "little")) + ends + group
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(part10(group))
    report = sign(source, target, signer.key, trimming)
    assert report.repaired[0].startswith("6 octets of surplus padding were removed from 3 strings: Modality, ")
    with DicomFile.open(target) as file:
        lengths = [file.number(file.value(file.main[tag])) for tag in (0x00080000, 0x00080001)]
        start, end = file.main[0x00080001].start, file.main[0x00081140].end
        uids = [file.value(one) for one in file.data_sets(file.main, file.main[0x00081140])[0].elements]
        added = file.main.end - end
    assert uids == [b"1.2.3\0", b"1.2.34"]
    assert lengths == [end - start, len(group) - 12 - 12 + 100 - 6 + added]
    assert dcmsign.accepts(target)


def test_an_object_without_surplus_padding_is_signed_as_it_is(
    signer: Identity, trimming: SigningRequest, native: Path, tmp_path: Path
) -> None:
    report = sign(native, tmp_path / "out.dcm", signer.key, trimming)
    assert (report.repaired, report.overpadded) == ((), ())
    sign(native, None, signer.key, trimming)
    assert check_integrity(native).signatures[0].intact


def test_an_original_is_not_replaced_and_no_signature_is_broken(
    signer: Identity, base: SigningRequest, trimming: SigningRequest, tmp_path: Path
) -> None:
    source, signed = tmp_path / "in.dcm", tmp_path / "signed.dcm"
    source.write_bytes(overpadded("native"))
    before = source.read_bytes()
    with pytest.raises(WriteRefusedError, match="Write to another file"):
        sign(source, None, signer.key, trimming)
    assert source.read_bytes() == before
    sign(source, signed, signer.key, base)
    with pytest.raises(SignatureError, match=r"is signed already, and without its surplus padding .* trim_padding\."):
        sign(signed, tmp_path / "out.dcm", signer.key, trimming)
    assert not (tmp_path / "out.dcm").exists()


def test_a_run_is_resumed_from_trimmed_results(
    signer: Identity, base: SigningRequest, trimming: SigningRequest, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(overpadded("native"))
    uid = sign(source, target, signer.key, trimming).uid
    assert find_earlier_signature(str(source), str(target), trimming) == uid
    shutil.copy(source, tmp_path / "again.dcm")
    with pytest.raises(SignatureError, match="it is another state of the object"):
        find_earlier_signature(str(source), str(target), base)
