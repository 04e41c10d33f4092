"""Strict reading of File Meta Information (PS3.10 7.1)."""

from __future__ import annotations

from typing import NamedTuple

from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.errors import MediaDirectoryError, NotDicomError, UnsupportedTransferSyntaxError
from hsm_dicom.dataset.octets.source import Source
from hsm_dicom.dataset.tags import format_tag
from hsm_dicom.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax, transfer_syntax
from hsm_dicom.dataset.walk.walker import Walker

_META_START = 132
_MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
_TRANSFER_SYNTAX_UID = 0x00020010
MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"


class FileMeta(NamedTuple):
    """Where the File Meta Information ends, the Transfer Syntax that it names, and its elements."""

    end: int
    syntax: TransferSyntax
    elements: tuple[Element, ...]


def has_prefix(file: Source) -> bool:
    """Return whether the file has the prefix DICM behind a preamble of 128 bytes."""
    return file.read(0, min(file.size, _META_START))[128:] == b"DICM"


def read_file_meta(file: Source) -> FileMeta:
    """Read the File Meta Information. Raises DicomFileError if it breaks PS3.10 7.1."""
    if not file.size:
        raise NotDicomError(file.name, "the file is empty.")
    head = file.read(0, min(file.size, _META_START + 12))
    if not has_prefix(file):
        raise NotDicomError(file.name, "not a DICOM file: the prefix DICM of PS3.10 is missing.")
    if head[132:140] != b"\x02\0\0\0UL\x04\0" or len(head) < _META_START + 12:
        raise NotDicomError(
            file.name, "the File Meta Information does not begin with its length (0002,0000), as PS3.10 7.1 demands."
        )
    end = _META_START + 12 + int.from_bytes(head[140:144], "little")
    if end > file.size:
        raise NotDicomError(file.name, "the File Meta Information is cut short; the file is truncated.")
    meta = Walker(file, TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN)).data_set(_META_START, end)
    uid = sop_class = None
    for element in meta:
        if element.tag >> 16 != 0x0002:
            raise NotDicomError(
                file.name,
                f"{format_tag(element.tag)} is in the File Meta Information; its length (0002,0000) is wrong.",
            )
        if element.tag == _TRANSFER_SYNTAX_UID:
            uid = file.read(element.value, element.end).rstrip(b"\0 ").decode("latin-1")
        elif element.tag == _MEDIA_STORAGE_SOP_CLASS_UID:
            sop_class = file.read(element.value, element.end).rstrip(b"\0 ")
    if sop_class == MEDIA_STORAGE_DIRECTORY:
        raise MediaDirectoryError(
            file.name,
            "is a DICOMDIR, the directory of a medium: it lists files by their offsets and holds no object, so it has "
            "no signatures and is never signed. Name the files that it lists.",
        )
    if uid is None:
        raise NotDicomError(file.name, "the File Meta Information has no Transfer Syntax UID (0002,0010).")
    syntax = transfer_syntax(uid)
    if syntax is None:
        raise UnsupportedTransferSyntaxError(
            file.name, f"its Transfer Syntax {uid!r} is not one of PS3.5's; convert the file first."
        )
    return FileMeta(end, syntax, meta)
