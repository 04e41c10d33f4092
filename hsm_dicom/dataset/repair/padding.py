"""Removal of surplus padding: trailing pad characters beyond those that an even length needs (PS3.5 6.2).

Surplus padding has no meaning, but a signature covers it. DCMTK removes it whenever it reads a value: dcmsign reports
such a signature as corrupted, and any DCMTK program that writes the file makes the signature invalid.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Literal, NamedTuple

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import UNDEFINED_LENGTH, Element
from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.dataset.tags import LENGTH_TO_END, ItemPath
from hsm_dicom.dataset.vr import FORMS, SHORT


class TrimmedContent(NamedTuple):
    """The whole content of a file without surplus padding, the number of octets removed, and the strings."""

    content: bytes
    octets: int
    places: tuple[tuple[ItemPath, int], ...]


def trim_padding(file: DicomFile) -> TrimmedContent | None:
    """Return the content of the file without surplus padding, or None if it has no surplus padding.

    The file must have been opened with ``note_padding``. All other octets stay unchanged, except the lengths of the
    strings and of the structures that contain them.
    """
    trimmer = _Trimmer(file)
    octets = trimmer.trim(file.main)
    if not octets:
        return None
    return TrimmedContent(_content(file, sorted(trimmer.edits)), octets, tuple(trimmer.places))


class _Trimmer:
    """Collector of the edits of one file, level by level."""

    def __init__(self, file: DicomFile) -> None:
        self._file = file
        self._noted = set(file.overpadded)
        self._items = {path[:depth] for path, _ in file.overpadded for depth in range(1, len(path) + 1)}
        self._sequences = {(path[:-1], path[-1][0]) for path in self._items}
        self.edits: list[Edit] = []
        self.places: list[tuple[ItemPath, int]] = []

    def trim(self, level: DataSet) -> int:
        """Trim the strings of a level and of its Items; return the number of octets removed."""
        by_group: dict[int, int] = defaultdict(int)
        for element in level.elements:
            if element.vr == "SQ":
                by_group[element.tag >> 16] += self._sequence(level, element)
            elif (level.path, element.tag) in self._noted:
                by_group[element.tag >> 16] += self._string(level, element)
        lost = sum(by_group.values())
        lengths = {group << 16: octets for group, octets in by_group.items() if octets}
        if lost:
            lengths[LENGTH_TO_END] = lost
        for tag, octets in lengths.items():
            length = level.get(tag)
            if length is not None and length.end - length.value == 4:
                self._shrink(length.value, 4, octets)
        return lost

    def _sequence(self, level: DataSet, sequence: Element) -> int:
        if (level.path, sequence.tag) not in self._sequences:
            return 0
        lost = 0
        items = self._file.items(level, sequence)
        for bounds, item in zip(items, self._file.data_sets(level, sequence), strict=True):
            octets = self.trim(item) if item.path in self._items else 0
            self._shrink_defined(bounds.start + 4, octets)
            lost += octets
        self._shrink_defined(sequence.value - 4, lost)
        return lost

    def _string(self, level: DataSet, element: Element) -> int:
        value = self._file.value(element)
        pad = b"\0" if element.vr == "UI" else b" "
        text = value.rstrip(b"\0 " if element.vr == "UI" else b" ")
        trimmed = text + pad * (len(text) % 2)
        self.edits.append(Edit(element.value, element.end, trimmed))
        size = 2 if not self._file.syntax.implicit_vr and FORMS[element.vr] == SHORT else 4
        self._shrink(element.value - size, size, len(value) - len(trimmed))
        self.places.append((level.path, element.tag))
        return len(value) - len(trimmed)

    def _shrink_defined(self, field: int, octets: int) -> None:
        length = self._file.number(self._file.source.read(field, field + 4))
        if octets and length != UNDEFINED_LENGTH:
            self._shrink(field, 4, octets)

    def _shrink(self, field: int, size: int, octets: int) -> None:
        length = self._file.number(self._file.source.read(field, field + size)) - octets
        if octets:
            order: Literal["big", "little"] = "big" if self._file.syntax.big_endian else "little"
            self.edits.append(Edit(field, field + size, length.to_bytes(size, order)))


def _content(file: DicomFile, edits: list[Edit]) -> bytes:
    parts: list[bytes] = []
    at = file.head
    for edit in [*edits, Edit(file.source.size, file.source.size, b"")]:
        parts += (file.source.read(at, edit.start), edit.data)
        at = edit.end
    head, body = file.source.read(0, file.head), b"".join(parts)
    if not file.syntax.deflated:
        return head + body
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflater.compress(body) + deflater.flush()
    return head + body + b"\0" * (len(body) % 2)  # PS3.5 A.5
