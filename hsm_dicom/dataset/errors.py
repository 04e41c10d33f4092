"""Why a file could not be read as a DICOM object, or written. Each error's text names the file and the reason."""

from __future__ import annotations

from hsm_dicom.dataset.tags import format_tag
from hsm_dicom.errors import DicomError


class DicomFileError(DicomError):
    """A file could not be read or written.

    ``name`` is the file's name as the caller gave it, ``reason`` the sentence without it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class NotDicomError(DicomFileError):
    """The file is not a DICOM file of PS3.10: no preamble and prefix, or no usable File Meta Information."""


class MediaDirectoryError(DicomFileError):
    """The file is a DICOMDIR (PS3.10 8.6), not an object."""


class UnsupportedTransferSyntaxError(DicomFileError):
    """The Transfer Syntax is private or unknown, so the Data Set cannot be read."""


class UnrepairableFileError(DicomFileError):
    """No clean copy of the file is possible without changing the content of the object."""


class FileChangedError(DicomFileError):
    """Another program changed the file while it was in use."""


class WriteRefusedError(DicomFileError):
    """The output would overwrite a file without the caller's permission."""


class TargetExistsError(WriteRefusedError):
    """The output exists already, and the caller did not allow it to be replaced."""

    default_remedy = "Choose another file, or allow it to be overwritten."


class TargetIsSourceError(WriteRefusedError):
    """The output is the source itself, and the caller did not ask for it to be replaced."""

    default_remedy = (
        "Choose another file, or allow replacing the source: overwrite=True in hsm_dicom.sign, else output=None."
    )


class CopyInPlaceError(WriteRefusedError):
    """A clean copy is to be written, and the output is the original."""

    default_remedy = "Write to another file."


class MalformedDataSetError(DicomFileError):
    """The encoding breaks a rule of PS3.5, or reads differently to different readers.

    ``offset`` counts bytes from the start of the file (of the inflated file, where it is deflated);
    ``tag`` is the element in question, or None.
    """

    def __init__(self, name: str, offset: int, tag: int | None, problem: str) -> None:
        where = f"at byte {offset}" if tag is None else f"{format_tag(tag)} at byte {offset}"
        super().__init__(name, f"{where}: {problem}")
        self.offset = offset
        self.tag = tag
        self.problem = problem


class OverrunError(MalformedDataSetError):
    """The element at ``offset`` reaches past the end of the file, or of what holds it: to ``stop``."""

    def __init__(self, name: str, offset: int, tag: int, problem: str, stop: int) -> None:
        super().__init__(name, offset, tag, problem)
        self.stop = stop
