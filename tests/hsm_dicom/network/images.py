"""CT images for transfer tests, made here."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]


def ct_image(
    folder: Path, name: str = "ct.dcm", *, uid: str | None = None, pixels: int = 512 * 16, value: int = 0
) -> Path:
    """A CT image of so many bytes of pixel data."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid or generate_uid()
    dataset.PatientName = "Test^Image"
    dataset.PatientID = "1"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3"
    dataset.Modality = "CT"
    columns = min(512, pixels // 2)
    rows = min(512, pixels // (2 * columns))
    dataset.NumberOfFrames = pixels // (2 * columns * rows)
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = rows, columns, 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = bytes([value % 256]) * pixels
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path = folder / name
    dataset.save_as(path, enforce_file_format=True)
    return path


def data_set_bytes(path: Path) -> bytes:
    """The file's bytes behind its File Meta Information."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]
