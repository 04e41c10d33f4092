"""DICOM files (PS3.10) open for reading, as encoded bytes and as a parsed Data Set.

with DicomFile.open("ct.dcm") as file:
    print(file.syntax.uid, len(file.main.elements), file.value(file.main[0x00100020]))
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Self

from hsm_dicom.dataset.bare import find_bare_syntax
from hsm_dicom.dataset.element import UNDEFINED_LENGTH, Element, EncapsulatedPlace, ItemBounds
from hsm_dicom.dataset.encapsulated.fragments import EncapsulatedPixelData, OffsetTables
from hsm_dicom.dataset.errors import FileChangedError, NotDicomError
from hsm_dicom.dataset.file_meta import FileMeta, has_prefix, read_file_meta
from hsm_dicom.dataset.octets.source import ObjectSource, Source, inflate, open_source
from hsm_dicom.dataset.tags import LENGTH_TO_END, NUMBER_OF_FRAMES, ItemPath, format_path
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.vr import PLAIN, Reading
from hsm_dicom.dataset.walk.walker import Walker

_TAG_OF = attrgetter("tag")
_LONGEST_IS = 12
_EXTENDED_OFFSET_TABLE = 0x7FE00001
_EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002

FileState = tuple[int, int, int, int, int]
"""Identity of one state of a file: device, inode, size, modification time and status change time."""


@dataclass(frozen=True)
class DataSet:
    """One level: the main Data Set or that of the Item at ``path``, encoded in the bytes ``[start, end)``."""

    path: ItemPath
    start: int
    end: int
    elements: tuple[Element, ...]

    @cached_property
    def by_tag(self) -> dict[int, Element]:
        """The elements by tag; tags are unique."""
        return {element.tag: element for element in self.elements}

    @cached_property
    def signable_tags(self) -> frozenset[int]:
        """Tags of the elements that a signature may cover."""
        return frozenset([element.tag for element in self.elements if element.signable])

    def __getitem__(self, tag: int) -> Element:
        return self.by_tag[tag]

    def __contains__(self, tag: int) -> bool:
        return tag in self.by_tag

    def get(self, tag: int) -> Element | None:
        """Return the element with this tag, or None."""
        return self.by_tag.get(tag)

    def position_for(self, tag: int) -> int:
        """Return the offset of the element with this tag, or the offset at which to insert it."""
        number = bisect_left(self.elements, tag, key=_TAG_OF)
        return self.elements[number].start if number < len(self.elements) else self.end


@dataclass
class EncodedFile:
    """An open file whose encoding is known.

    Offsets refer to ``source``: the file, inflated if it is deflated. ``head`` is the offset of the first byte after
    the File Meta Information.
    """

    file: Source
    source: Source
    syntax: TransferSyntax
    head: int
    status: os.stat_result

    @classmethod
    def reopen(
        cls, path: ObjectSource, syntax: TransferSyntax, head: int, state: FileState, *, content: bytes | None = None
    ) -> EncodedFile:
        """Open a file that was walked before.

        ``content`` is the content that was walked instead of the file's own bytes. Raises FileChangedError if the file
        is no longer in ``state``.
        """
        file, status = open_source(path)
        file.replace(content)
        source = file
        try:
            if file_state(status) != state:
                raise FileChangedError(file.name, "the file was changed since it was read; nothing was written.")
            if syntax.deflated:
                source = inflate(file, head)
        except BaseException:
            file.close()
            raise
        return cls(file, source, syntax, head, status)

    @property
    def name(self) -> str:
        """The file's name as the caller gave it."""
        return self.file.name

    @property
    def state(self) -> FileState:
        """The state of the file when it was opened."""
        return file_state(self.status)

    def number(self, data: bytes) -> int:
        """Decode an unsigned integer in the byte order of the Data Set."""
        return int.from_bytes(data, "big" if self.syntax.big_endian else "little")

    def check_unchanged(self) -> None:
        """Raise FileChangedError if the file was written to since it was opened."""
        if self.file.fd >= 0 and file_state(os.fstat(self.file.fd)) != self.state:
            raise FileChangedError(self.name, "the file was changed while it was being read.")

    def close(self) -> None:
        """Close the file; repeated calls have no effect."""
        self.source.close()
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class DicomFile(EncodedFile):
    """An open file that was walked.

    ``meta`` contains the elements of the File Meta Information, with offsets in ``file``; a bare Data Set has none.
    ``signed_items`` lists the Items that contain signatures or their MAC Parameters: path, start and end of each.
    ``encapsulated_places`` locates encapsulated Pixel Data. ``unsignable_inside`` lists the elements inside
    sequences whose tags exclude them from signatures, with the paths of their Items (see ``Notes``).
    """

    meta: tuple[Element, ...]
    main: DataSet
    signed_items: tuple[tuple[ItemPath, int, int], ...]
    encapsulated_places: tuple[EncapsulatedPlace, ...]
    reading: Reading
    overpadded: tuple[tuple[ItemPath, int], ...]
    unsignable_inside: tuple[tuple[ItemPath, Element], ...]

    @classmethod
    def open(
        cls,
        path: ObjectSource,
        *,
        reading: Reading = PLAIN,
        note_padding: bool = False,
        bare: bool = False,
        content: bytes | None = None,
    ) -> Self:
        """Open and walk a file; the first two options are those of ``Walker``.

        With ``bare``, the file may be a Data Set without File Meta Information if only one Transfer Syntax fits it.
        ``content`` is walked instead of the file's own bytes.

        Raises DicomFileError: NotDicomError, UnsupportedTransferSyntaxError, MalformedDataSetError, or the class
        itself if the path cannot be read.
        """
        file, status = open_source(path)
        file.replace(content)
        source = file
        try:
            is_bare = bare and file.size > 0 and not has_prefix(file)
            head, syntax, meta = FileMeta(0, find_bare_syntax(file), ()) if is_bare else read_file_meta(file)
            if syntax.deflated:
                source = inflate(file, head)
            walker = Walker(source, syntax, reading=reading)
            walker.overpadded = [] if note_padding else None
            elements = walker.data_set(head, source.size)
            if elements and elements[0].tag >> 16 == 0x0002:
                raise NotDicomError(file.name, "the File Meta Information is longer than (0002,0000) says.")
        except BaseException:
            source.close()
            file.close()
            raise
        main = DataSet((), head, source.size, elements)
        return cls(
            file=file,
            source=source,
            syntax=syntax,
            head=head,
            status=status,
            meta=meta,
            main=main,
            signed_items=tuple(walker.signed_items),
            encapsulated_places=tuple(walker.encapsulated),
            reading=reading,
            overpadded=tuple(walker.overpadded or ()),
            unsignable_inside=tuple(walker.unsignable_inside),
        )

    @property
    def is_bare(self) -> bool:
        """Whether this is a Data Set without File Meta Information."""
        return not self.meta

    @cached_property
    def encapsulated(self) -> tuple[EncapsulatedPixelData, ...]:
        """The encapsulated Pixel Data of every level, in file order."""
        return tuple(map(self._load_encapsulated, self.encapsulated_places))

    def _load_encapsulated(self, place: EncapsulatedPlace) -> EncapsulatedPixelData:
        level = self.main
        if place.path:
            elements = self._walker().data_set(place.level_start, place.start, place.path)
            level = DataSet(place.path, place.level_start, place.start, elements)
        tables = (level.get(tag) for tag in (_EXTENDED_OFFSET_TABLE, _EXTENDED_OFFSET_TABLE_LENGTHS))
        return EncapsulatedPixelData(
            source=self.source,
            syntax=self.syntax.uid,
            place=place,
            frames=self._number_of_frames(level),
            tables=OffsetTables(*(None if table is None else (table.value, table.end) for table in tables)),
        )

    def _number_of_frames(self, level: DataSet) -> int | None:
        """Return Number of Frames (0028,0008), an IS: 1 if absent or empty, None if not a positive number."""
        element = level.get(NUMBER_OF_FRAMES)
        if element is None or element.end - element.value > _LONGEST_IS:
            return 1 if element is None else None
        text = self.value(element).strip(b" ")
        if not text:
            return 1
        return int(text) if text.isdigit() and int(text) > 0 else None

    def find_signed_levels(self) -> Iterator[DataSet]:
        """Yield the main Data Set, then those of the Items that contain signatures or their MAC Parameters."""
        yield self.main
        for path, start, end in self.signed_items:
            yield DataSet(path, start, end, self._walker().data_set(start, end, path))

    def stream(self, level: DataSet, element: Element, update: Callable[[bytes | memoryview], object]) -> int:
        """Pass the MAC byte stream of a sequence or of encapsulated Pixel Data to ``update``; return its size."""
        return self._walker().stream(element, level.path, update)

    def meta_value(self, tag: int) -> bytes | None:
        """Return the encoded value of an element of the File Meta Information, or None if it is absent."""
        found = (self.file.read(e.value, e.end) for e in self.meta if e.tag == tag)
        return next(found, None)

    def value(self, element: Element) -> bytes:
        """Return the encoded value of an element."""
        return self.source.read(element.value, element.end)

    def items(self, level: DataSet, sequence: Element) -> list[ItemBounds]:
        """Return the bounds of the Items of a sequence of this level."""
        return self._walker().items(sequence, level.path)

    def data_sets(self, level: DataSet, sequence: Element) -> list[DataSet]:
        """Return the Data Sets of the Items of a sequence of this level."""
        walker = self._walker()
        found = []
        for number, item in enumerate(walker.items(sequence, level.path)):
            path = (*level.path, (sequence.tag, number))
            found.append(
                DataSet(path, item.value, item.content_end, walker.data_set(item.value, item.content_end, path))
            )
        return found

    def item(self, path: ItemPath) -> DataSet:
        """Return the Data Set of the Item at ``path``. Raises KeyError if there is no such Item."""
        return self._descend(path)[0]

    def length_fields(self, path: ItemPath) -> tuple[int, ...]:
        """Return the offsets of the 32-bit length fields that change when the Data Set at ``path`` grows.

        These are the defined lengths of enclosing sequences and Items, Length to End, and the lengths of the groups
        that contain the enclosing sequences.
        """
        return self._descend(path)[1]

    def _walker(self) -> Walker:
        return Walker(self.source, self.syntax, reading=self.reading)

    def _descend(self, path: ItemPath) -> tuple[DataSet, tuple[int, ...]]:
        level = self.main
        fields = _group_lengths(level, LENGTH_TO_END)
        if not path:
            return level, fields
        walker = self._walker()
        for depth, (tag, number) in enumerate(path):
            place = path[: depth + 1]
            sequence = level.get(tag)
            items = walker.items(sequence, level.path) if sequence is not None and sequence.vr == "SQ" else []
            if sequence is None or number >= len(items):
                raise KeyError(format_path(place))
            item = items[number]
            fields += _group_lengths(level, tag & 0xFFFF0000)
            for field in (sequence.value - 4, item.start + 4):
                if self.number(self.source.read(field, field + 4)) != UNDEFINED_LENGTH:
                    fields += (field,)
            elements = walker.data_set(item.value, item.content_end, place)
            level = DataSet(place, item.value, item.content_end, elements)
            fields += _group_lengths(level, LENGTH_TO_END)
        return level, fields


def file_state(status: os.stat_result) -> FileState:
    """Return the state of a file from its ``stat`` result."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _group_lengths(level: DataSet, tag: int) -> tuple[int, ...]:
    """Return the offset of the value of a retired length element, if the level has it."""
    element = level.get(tag)
    return (element.value,) if element is not None and element.end - element.value == 4 else ()
