"""Changes that somebody makes to a signed file, and a small report to make them to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.rewrite import Edit, write_edited
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.creation.insert import grow
from tests.hsm_dicom.dataset.samples import element

CONTENT, SIGNATURES, MAC_PARAMETERS, PADDING = 0x0040A730, 0xFFFAFFFA, 0x4FFE0001, 0xFFFCFFFC

Change = Callable[[Dataset], None]


def report(text: str = "A mass of 4 cm") -> Dataset:
    """A small report, whose content is the last that a signature covers."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.3.4.5", "SR"
    ds.PatientName, ds.PatientID = "Nested^Test", "N1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ds.ContentSequence = Sequence([text_item(text)])
    return ds


def text_item(text: str) -> Dataset:
    """A content item of a report."""
    item = Dataset()
    item.ValueType, item.TextValue = "TEXT", text
    return item


def changed(path: Path, change: Change) -> Path:
    """The file after a change by pydicom."""
    ds = pydicom.dcmread(path)
    change(ds)
    target = path.with_suffix(".changed.dcm")
    ds.save_as(target)
    return target


def inserted(path: Path, place: ItemPath, tag: int, vr: str, value: bytes) -> Path:
    """The explicit VR little endian file with one element more, which pydicom might not write."""
    target = path.with_suffix(f".{tag:08x}.dcm")
    data = element(tag, vr, value)
    with DicomFile.open(path) as file:
        at = file.item(place).position_for(tag)
        growing = [grow(file, field, len(data)) for field in file.length_fields(place)]
        write_edited(file, [Edit(at, at, data), *growing], target)
    return target


def wrap(first: int) -> Change:
    """Move the covered elements from this tag on into the signature's Item, and take them off the list."""

    def change(ds: Dataset) -> None:
        signature, parameters = ds[SIGNATURES].value[0], ds[MAC_PARAMETERS].value[0]
        listed = [int(tag) for tag in parameters.DataElementsSigned]
        for tag in filter(lambda tag: tag >= first, listed):
            signature[tag] = copy.deepcopy(ds[tag])
            del ds[tag]
        parameters.DataElementsSigned = [tag for tag in listed if tag < first]

    return change
