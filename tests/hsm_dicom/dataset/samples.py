"""DICOM files for tests, written by pydicom: one rich Data Set in every encoding that matters to signatures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.hsm_dicom.dataset.frames import ITEM, jpeg_frame, rle_frame

KINDS = (
    "native",
    "implicit",
    "big-endian",
    "deflated",
    "rle-with-offset-table",
    "jpeg-without-offset-table",
    "undefined",
)

_SYNTAXES: dict[str, UID] = {
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle-with-offset-table": RLELossless,
    "jpeg-without-offset-table": JPEGBaseline8Bit,
}
_OCTETS = bytes(range(256)) * 2
_FRAMES = {
    "rle-with-offset-table": [rle_frame(_OCTETS), rle_frame(ITEM * 16)],
    "jpeg-without-offset-table": [jpeg_frame(_OCTETS.replace(b"\xff", b"\xff\0")), jpeg_frame(ITEM * 16)],
}
"""Two frames of each kind; the second has octets that look like Item tags, which nothing may take for such."""


def data_set(*, undefined: bool = False) -> Dataset:
    """A made-up CT with nested, empty and private parts, an element of VR UN, and every width of number."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.InstanceCreationDate, ds.InstanceCreationTime = "20240102", "030405.678"
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5"
    ds.StudyDate, ds.Modality, ds.Manufacturer = "20240102", "CT", "Made Up"
    ds.AnatomicRegionSequence = Sequence()
    ds.ReferencedImageSequence = Sequence([_reference("1.2.3.6"), Dataset(), _reference("1.2.3.7")])
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Muster^Märta", "4711", "19700101"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = "1.2.3", "1.2.3.4", 7
    ds.ImageComments = "odd"
    block = ds.private_block(0x0029, "MADE UP", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "UN", b"\x01\x02\x03\x04")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = 16, 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.add_new(0x00280106, "SS", -5)
    ds.FrameIncrementPointer = 0x00181063
    ds.add_new(0x00089459, "FL", 1.5)
    ds.add_new(0x00189073, "FD", 2.25)
    ds.add_new(0x00720070, "UT", "long text")
    voxel = Dataset()
    voxel.add_new(0x00283002, "US", [256, 0, 16])
    voxel.add_new(0x00283006, "OW", bytes(range(256)) * 2)
    ds.ModalityLUTSequence = Sequence([voxel])
    ds.add_new(0x60000010, "US", 16)
    ds.add_new(0x60003000, "OW", bytes(32))
    ds.PixelData = _OCTETS
    ds["PixelData"].VR = "OW"
    if undefined:
        for element in ds.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    return ds


def structure_set(points: int) -> Dataset:
    """A structure set of one contour; from about 2700 points on, its Contour Data exceeds 64 KiB."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.9"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    ds.PatientName, ds.PatientID, ds.Modality, ds.StructureSetLabel = "RT^Test", "R1", "RTSTRUCT", "S"
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", points
    contour.ContourData = [f"{number / 7:.4f}" for number in range(3 * points)]
    roi = Dataset()
    roi.ReferencedROINumber, roi.ContourSequence = 1, Sequence([contour])
    ds.ROIContourSequence = Sequence([roi])
    return ds


def nested_report(items: int) -> Dataset:
    """A report with so many texts in a nested sequence; from about 200 on dcmsign 3.6.7 leaves some out of its hash."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.3.4.5"
    made.Modality, made.PatientName, made.PatientID = "SR", "Nested^Test", "N1"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    container = Dataset()
    texts = []
    for number in range(items):
        text = Dataset()
        text.ValueType, text.TextValue = "TEXT", f"Finding {number:04d}: {'x' * 40}"
        texts.append(text)
    container.ValueType, container.ContentSequence = "CONTAINER", Sequence(texts)
    made.ContentSequence = Sequence([container])
    return made


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121322", "DCM", "Source image"
    item.PurposeOfReferenceCodeSequence = Sequence([code])
    return item


def encode(ds: Dataset, kind: str = "native", **meta: Any) -> bytes:
    """A DICOM file of this kind, which is one of KINDS."""
    syntax = _SYNTAXES.get(kind, ExplicitVRLittleEndian)
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian and "PixelData" in ds:
        frames = encapsulate(_FRAMES[kind], has_bot=kind == "rle-with-offset-table")
        ds.NumberOfFrames = len(_FRAMES[kind])
        ds["PixelData"] = DataElement(0x7FE00010, "OB", frames, is_undefined_length=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    out = BytesIO()
    ds.save_as(out, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True)
    return out.getvalue()


def sample(kind: str = "native") -> bytes:
    """The rich Data Set as a file of this kind."""
    return encode(data_set(undefined=kind == "undefined"), kind)


def shipped(name: str) -> Path:
    """A file that pydicom ships."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path)


def bare_copy(source: Path, target: Path) -> Path:
    """Write a copy of a file without what no signature can cover: its preamble and trailing padding."""
    ds = dcmread(source)
    ds.preamble = bytes(128)
    ds.pop(0xFFFCFFFC, None)
    ds.save_as(target)
    return target


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One explicit VR little endian element, with a length that may be a lie."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    size = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT", "OF", "OD", "OL", "OV", "SV", "UC", "UR", "UV"):
        return head + b"\0\0" + size.to_bytes(4, "little") + value
    return head + size.to_bytes(2, "little") + value


def part10(body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """A file of this Transfer Syntax around encoded elements."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020010, "UI", uid)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", len(meta).to_bytes(4, "little")) + meta + body


def item(content: bytes, length: int | None = None) -> bytes:
    """An Item of defined length, or of the length given."""
    return b"\xfe\xff\x00\xe0" + (len(content) if length is None else length).to_bytes(4, "little") + content


ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
