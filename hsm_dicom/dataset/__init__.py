"""Encoded DICOM files: one strict walk over their bytes, and the parts that use its results.

| module or room                      | one idea                                                             |
|-------------------------------------|----------------------------------------------------------------------|
| `inputs`                            | the four forms of an object: path, bytes, binary file, Dataset       |
| `dicom_file`                        | an open file, level by level                                         |
| `walk`                              | the walk: elements, their places, their part of the MAC byte stream  |
| `element`                           | what the walk yields                                                 |
| `tags`, `transfer_syntax`, `vr`     | tags, Transfer Syntaxes and VRs of PS3.5 and PS3.6                   |
| `octets`                            | bytes from a file or from memory; a MAC byte stream in parts         |
| `encapsulated`                      | Pixel Data in fragments: defects, start and end of frames            |
| `file_meta`, `bare`                 | File Meta Information; the encoding of a Data Set without it         |
| `values`                            | values for display                                                   |
| `encode`, `rewrite`                 | new elements; a file written from another one                        |
| `repair`                            | a clean copy of a refused file; a copy without surplus padding       |
| `folders`                           | the files below a folder                                             |
| `errors`                            | why a file could not be read or written                              |
| `_pydicom`                          | pydicom's table of UIDs                                              |
"""

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.errors import (
    DicomFileError,
    MalformedDataSetError,
    WriteRefusedError,
)

__all__ = [
    "DataSet",
    "DicomFile",
    "DicomFileError",
    "Element",
    "MalformedDataSetError",
    "WriteRefusedError",
]
