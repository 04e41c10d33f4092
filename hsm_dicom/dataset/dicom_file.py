"""A DICOM file (PS3.10), opened for reading its structure: File Meta Information, and a Data Set that was walked.

with DicomFile.open("ct.dcm") as file:
    print(file.syntax.uid, len(file.main.elements), file.value(file.main[0x00100020]))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from hsm_dicom.dataset.errors import (
    FileChangedError,
    NotDicomError,
    UnsupportedTransferSyntaxError,
)
from hsm_dicom.dataset.source import Source, inflate, open_source
from hsm_dicom.dataset.tags import LENGTH_TO_END, Path, format_path, format_tag
from hsm_dicom.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax, transfer_syntax
from hsm_dicom.dataset.walker import Element, ItemBounds, Walker

_META_START = 132
_META_LENGTH = 0x00020000
_TRANSFER_SYNTAX_UID = 0x00020010


@dataclass(frozen=True)
class DataSet:
    """One level: the main Data Set, or that of the Item at ``path``.

    Its encoded elements are the bytes ``[start, end)``. ``length_fields`` are offsets of the 32-bit fields that
    count bytes of this level and change when it grows: of enclosing sequences and Items of defined length, and
    group lengths of the enclosing levels.
    """

    path: Path
    start: int
    end: int
    elements: tuple[Element, ...]
    length_fields: tuple[int, ...] = ()

    @cached_property
    def by_tag(self) -> dict[int, Element]:
        """The elements by tag; tags are unique."""
        return {element.tag: element for element in self.elements}

    def __getitem__(self, tag: int) -> Element:
        return self.by_tag[tag]

    def __contains__(self, tag: int) -> bool:
        return tag in self.by_tag

    def get(self, tag: int) -> Element | None:
        """The element with this tag, or None."""
        return self.by_tag.get(tag)

    def position_for(self, tag: int) -> int:
        """The offset at which an element with this tag stands, or would have to be inserted."""
        return next((element.start for element in self.elements if element.tag >= tag), self.end)


@dataclass
class DicomFile:
    """An open DICOM file. Offsets count in ``source``, which is the file, inflated where it is deflated."""

    name: str
    file: Source
    source: Source
    syntax: TransferSyntax
    meta: DataSet
    main: DataSet
    signed_items: tuple[Path, ...]
    status: os.stat_result

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open and walk a file.

        Raises DicomFileError: NotDicomError, UnsupportedTransferSyntaxError, MalformedDataSetError, or the class
        itself where the path cannot be read.
        """
        file, status = open_source(path)
        source = file
        try:
            meta = _file_meta(file)
            syntax = _syntax(file, meta)
            if syntax.deflated:
                source = inflate(file, meta.end)
            walker = Walker(source, syntax)
            elements = walker.data_set(meta.end, source.size)
            if elements and elements[0].tag >> 16 == 0x0002:
                raise NotDicomError(file.name, "the File Meta Information is longer than (0002,0000) says.")
            main = DataSet((), meta.end, source.size, elements, _group_lengths(elements, None))
        except BaseException:
            source.close()
            file.close()
            raise
        return cls(file.name, file, source, syntax, meta, main, tuple(walker.signed_items), status)

    def item(self, path: Path) -> DataSet:
        """The Data Set of the Item at ``path``. Raises KeyError where there is no such Item."""
        level = self.main
        for depth, (tag, number) in enumerate(path):
            sequence = level.get(tag)
            bounds = self.items(level, sequence) if sequence is not None and sequence.vr == "SQ" else []
            if sequence is None or number >= len(bounds):
                raise KeyError(format_path(path[: depth + 1]))
            item = bounds[number]
            place = path[: depth + 1]
            elements = Walker(self.source, self.syntax).data_set(item.value, item.content_end, place)
            length_fields = level.length_fields + _group_lengths(level.elements, tag >> 16)
            length_fields += tuple(
                field
                for field in (sequence.value - 4, item.start + 4)
                if self.source.read(field, field + 4) != b"\xff\xff\xff\xff"
            )
            own = _group_lengths(elements, None)
            level = DataSet(place, item.value, item.content_end, elements, length_fields + own)
        return level

    def items(self, level: DataSet, sequence: Element) -> list[ItemBounds]:
        """Where the Items of a sequence of this level lie."""
        return Walker(self.source, self.syntax).items(sequence, level.path)

    def value(self, element: Element) -> bytes:
        """The encoded value, as it is in the file."""
        return self.source.read(element.value, element.end)

    def number(self, data: bytes) -> int:
        """Decode an unsigned integer in the byte order of the Data Set."""
        return int.from_bytes(data, "big" if self.syntax.big_endian else "little")

    def demand_unchanged(self) -> None:
        """Raise FileChangedError if the file was written to since it was opened."""
        now = os.fstat(self.file.fd)
        if identity(now) != identity(self.status):
            raise FileChangedError(self.name, "the file was changed while it was being read.")

    def close(self) -> None:
        """Give the file back; harmless to repeat."""
        self.source.close()
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """What tells one state of one file from another: device, inode, size, and times of writing and of change."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _group_lengths(elements: tuple[Element, ...], group: int | None) -> tuple[int, ...]:
    """Offsets of Length to End (with ``group`` None) or of one group's length element, if the level has it."""
    wanted = LENGTH_TO_END if group is None else group << 16
    for element in elements:
        if element.tag >= wanted:
            return (element.value,) if element.tag == wanted and element.end - element.value == 4 else ()
    return ()


def _file_meta(file: Source) -> DataSet:
    """Walk the File Meta Information (PS3.10 7.1), which is in explicit VR little endian whatever follows."""
    if not file.size:
        raise NotDicomError(file.name, "the file is empty.")
    head = file.read(0, min(file.size, _META_START + 12))
    if head[128:132] != b"DICM":
        raise NotDicomError(file.name, "not a DICOM file: the prefix DICM of PS3.10 is missing.")
    if head[132:140] != b"\x02\0\0\0UL\x04\0" or len(head) < _META_START + 12:
        raise NotDicomError(
            file.name, "the File Meta Information does not begin with its length (0002,0000), as PS3.10 7.1 demands."
        )
    end = _META_START + 12 + int.from_bytes(head[140:144], "little")
    if end > file.size:
        raise NotDicomError(file.name, "the File Meta Information is cut short; the file is truncated.")
    elements = Walker(file, TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN)).data_set(_META_START, end)
    foreign = next((element for element in elements if element.tag >> 16 != 0x0002), None)
    if foreign is not None:
        raise NotDicomError(
            file.name, f"the File Meta Information holds {format_tag(foreign.tag)}; its length (0002,0000) is wrong."
        )
    return DataSet((), _META_START, end, elements)


def _syntax(file: Source, meta: DataSet) -> TransferSyntax:
    element = meta.get(_TRANSFER_SYNTAX_UID)
    if element is None:
        raise NotDicomError(file.name, "the File Meta Information has no Transfer Syntax UID (0002,0010).")
    uid = file.read(element.value, element.end).rstrip(b"\0 ").decode("latin-1")
    syntax = transfer_syntax(uid)
    if syntax is None:
        raise UnsupportedTransferSyntaxError(
            file.name, f"its Transfer Syntax {uid!r} is not one of PS3.5's; convert the file first."
        )
    return syntax
