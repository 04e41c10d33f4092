"""The encoded bytes of DICOM files: one structural walk, and what stands on it.

tags, transfer_syntax, vr     what PS3.5 and PS3.6 say about tags, Transfer Syntaxes and VRs
source                        bytes in spans, from a file or from memory
element                       what a walk yields
walker, notes, refusals       the walk: elements, their places, their share of a MAC byte stream; how it says no
fragments, codestream         encapsulated Pixel Data: whether its fragments hold together; how frames begin and end
file_meta, bare               the File Meta Information, and how a Data Set without one is encoded
dicom_file                    a file that was walked, level by level
pieces                        a MAC byte stream in its smallest parts
values                        values for people to see
encode                        the few elements that are written anew
rewrite                       a file written beside another one, with bytes inserted or left out
padding                       a copy without surplus padding in strings
folders                       the files below a folder, and what of it was left out
repair, repair_structure      a clean copy of a file that is refused, through pydicom
errors                        why a file could not be read or written
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
