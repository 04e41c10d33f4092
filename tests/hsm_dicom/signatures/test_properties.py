"""Any single-bit change in what a signature covers or consists of turns the verdict; any other one does not.

And whatever bytes come in, the answer is a verdict or a clear error, never a crash and never a false "intact".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile, DicomFileError
from hsm_dicom.signatures import Finding, SigningRequest, VerifiedFile, add_timestamp, check_integrity, sign
from hsm_dicom.signatures.attributes import CERTIFICATE_OF_SIGNER, CERTIFIED_TIMESTAMP, CERTIFIED_TIMESTAMP_TYPE
from tests.hsm_dicom.dataset.samples import KINDS, encode, sample
from tests.pki import Authority, Identity

COVERED = (0x00080016, 0x00080018, 0x00081140, 0x00100010, 0x00280010, 0x7FE00010)
MAC_PARAMETERS, SIGNATURES = 0x4FFE0001, 0xFFFAFFFA
BITS = 8
QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


def small() -> Dataset:
    """Few elements of every form, so that all their bits can be tried."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    code = Dataset()
    code.CodeValue = "121322"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3.6"
    reference.PurposeOfReferenceCodeSequence = Sequence([code])
    ds.ReferencedImageSequence = Sequence([reference, Dataset()])
    ds.PatientName, ds.PatientID, ds.StudyID = "Muster", "4711", "1"
    ds.Rows = 2
    ds.PixelData = b"\1\2\3\4"
    ds["PixelData"].VR = "OW"
    return ds


@pytest.fixture(scope="module", params=["native", "implicit", "rle-with-offset-table", "undefined"])
def signed(
    request: pytest.FixtureRequest, signer: Identity, base: SigningRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small object, part of it signed with purpose and time stamp."""
    path = tmp_path_factory.mktemp("bits") / f"{request.param}.dcm"
    ds = small()
    if request.param == "undefined":
        for element in ds.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    path.write_bytes(encode(ds, request.param))
    uid = sign(path, None, signer.key, replace(base, tags=COVERED, purpose=1)).uid
    add_timestamp(path, uid, b"\x30\x03\x02\x01\x00", None)
    assert check_integrity(path).signatures[0].intact
    return path


def spans(path: Path) -> tuple[list[range], list[range], dict[int, range]]:
    """Bytes that a signature protects, those of its timestamp and certificate, and values that it leaves open."""
    with DicomFile.open(path) as file:
        protected = [range(file.main[tag].start, file.main[tag].end) for tag in (*COVERED, MAC_PARAMETERS, SIGNATURES)]
        item = file.item(((SIGNATURES, 0),))
        judged_elsewhere = [
            range(item[tag].start, item[tag].end)
            for tag in (CERTIFICATE_OF_SIGNER, CERTIFIED_TIMESTAMP_TYPE, CERTIFIED_TIMESTAMP)
        ]
        left_open = {tag: range(file.main[tag].value, file.main[tag].end) for tag in (0x00100020, 0x00200010)}
    return protected, judged_elsewhere, left_open


def flipped(data: bytes, byte: int, bit: int) -> bytes:
    return data[:byte] + bytes([data[byte] ^ (1 << bit)]) + data[byte + 1 :]


def intact(path: Path) -> bool:
    result = answer(path)
    return isinstance(result, VerifiedFile) and any(signature.intact for signature in result.signatures)


def is_issued_by(authority: Authority, certificate: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(certificate).verify_directly_issued_by(authority.certificate)
    except Exception:  # of many kinds, all of which mean no
        return False
    return True


def answer(path: Path) -> VerifiedFile | DicomFileError:
    try:
        return check_integrity(path)
    except DicomFileError as error:
        return error


def bits(ranges: list[range], without: list[range]) -> Iterator[tuple[int, int]]:
    skipped = {byte for span in without for byte in span}
    return ((byte, bit) for span in ranges for byte in span if byte not in skipped for bit in range(BITS))


@pytest.mark.slow
def test_every_single_bit_of_what_is_covered_and_of_the_signature_itself_counts(signed: Path, tmp_path: Path) -> None:
    protected, judged_elsewhere, _ = spans(signed)
    data, path = signed.read_bytes(), tmp_path / "flipped.dcm"
    step = 1 if signed.stem == "native" else 5  # which has no factor in common with 8: all places in a byte are tried
    for byte, bit in islice(bits(protected, judged_elsewhere), None, None, step):
        path.write_bytes(flipped(data, byte, bit))
        assert not intact(path), (byte, bit)


@pytest.mark.slow
def test_a_bit_of_certificate_or_timestamp_is_seen_by_the_validators_of_them(
    signed: Path, authority: Authority, tmp_path: Path
) -> None:
    _, judged_elsewhere, _ = spans(signed)
    data, path = signed.read_bytes(), tmp_path / "flipped.dcm"
    (before,) = check_integrity(signed).signatures
    for byte, bit in islice(bits(judged_elsewhere, []), None, None, 5):
        path.write_bytes(flipped(data, byte, bit))
        if not intact(path):
            continue
        (after,) = check_integrity(path).signatures
        if after.certificate == before.certificate:
            assert (after.timestamp_type, after.timestamp) != (before.timestamp_type, before.timestamp), (byte, bit)
            continue
        assert not is_issued_by(authority, after.certificate), (byte, bit)


def test_a_bit_elsewhere_changes_nothing_and_is_named_as_open(signed: Path, tmp_path: Path) -> None:
    _, _, left_open = spans(signed)
    data, path = signed.read_bytes(), tmp_path / "flipped.dcm"
    for tag, span in left_open.items():
        for byte, bit in bits([span], []):
            path.write_bytes(flipped(data, byte, bit))
            (signature,) = check_integrity(path).signatures
            assert signature.intact
            assert signature.coverage is not None
            assert tag in signature.coverage.open


@pytest.fixture(scope="module")
def rich(signer: Identity, base: SigningRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The rich Data Set, signed whole and in an Item, in every encoding."""
    folder = tmp_path_factory.mktemp("rich")
    found = {}
    for kind in KINDS:
        path = folder / f"{kind}.dcm"
        path.write_bytes(sample(kind))
        sign(path, None, signer.key, base)
        sign(path, None, signer.key, replace(base, item=((0x00081140, 2),)))
        found[kind] = path.read_bytes()
    return found


@QUIET
@given(data=st.data())
def test_mutilated_files_get_a_verdict_or_a_clear_error(
    rich: dict[str, bytes], data: st.DataObject, tmp_path: Path
) -> None:
    """Cut, doubled, moved and overwritten bytes: nothing but results and DicomFileErrors comes out."""
    good = rich[data.draw(st.sampled_from(KINDS))]
    out = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(128, len(out)))
        end = at + data.draw(st.integers(0, 64))
        how = data.draw(st.sampled_from(("cut", "double", "noise", "lengths", "truncate")))
        if how == "cut":
            del out[at:end]
        elif how == "double":
            out[end:end] = out[at:end]
        elif how == "noise":
            out[at:end] = data.draw(st.binary(max_size=16))
        elif how == "lengths":
            out[at : at + 4] = data.draw(st.sampled_from((b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", bytes(4))))
        else:
            del out[at:]
        if len(out) < 128:
            break
    path = tmp_path / "x.dcm"
    path.write_bytes(out)
    result = answer(path)
    if isinstance(result, DicomFileError):
        assert str(result).startswith(f"{path}: ")
        return
    for signature in result.signatures:
        assert bool(signature.reason) is (signature.finding is not Finding.INTACT)
