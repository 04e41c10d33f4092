"""Corrections between the values of a file: order, reserved octets, delimiters (PS3.5 7.1, 7.5).

pydicom ignores such defects when reading and writes the encoding that PS3.5 requires. The corrections change no value,
but the list of changes must contain them. `read_structure` walks a file, original or copy, returns the position of
each value and the corrections, and raises an error for any other defect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Literal

from hsm_dicom.dataset.element import UNDEFINED_LENGTH
from hsm_dicom.dataset.tags import (
    ITEM,
    ITEM_DELIMITATION,
    PIXEL_DATA,
    SEQUENCE_DELIMITATION,
    ItemPath,
    format_path,
    name_element,
)
from hsm_dicom.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from hsm_dicom.dataset.vr import FORMS, PLAIN, SHORT, ImplicitVRs


class _StructureError(Exception):
    """Structural defect that cannot be corrected; the text locates it, as a clause."""


Place = tuple[ItemPath, int]
"""An element: the path of its Item, and its tag."""


@dataclass
class Structure:
    """VR, start and end of each value, number of Items of each sequence, and corrections that a copy makes."""

    values: dict[Place, tuple[str, int, int]] = field(default_factory=dict)
    items: dict[Place, int] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def read_structure(data: bytes, meta: tuple[int, int], syntax: TransferSyntax) -> Structure:
    """Walk a file whose File Meta Information has the start and end ``meta``. Raises _StructureError.

    The returned values are those of the Data Set. Zeros after its last element are ignored.
    """
    of_meta = _Walk(data, TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN), "the file meta information")
    of_meta.level(*meta, True, ())
    of_object = _Walk(data, syntax, "the Data Set")
    of_object.level(meta[1], len(data), True, ())
    found = of_object.found
    return Structure(found.values, found.items, of_meta.found.changes + found.changes)


class _Walk:
    """A walk that accepts the defects that pydicom accepts, and records them."""

    def __init__(self, data: bytes, syntax: TransferSyntax, whole: str) -> None:
        self._data = data
        self._whole = whole
        self._implicit = syntax.implicit_vr
        self._byte_order: Literal["big", "little"] = "big" if syntax.big_endian else "little"
        self._tag_and_length = Struct(">HHI" if syntax.big_endian else "<HHI").unpack_from
        self._vrs = ImplicitVRs(PLAIN)
        self.found = Structure()

    def level(self, at: int, end: int, closed: bool, path: ItemPath) -> int:
        """Walk one Data Set up to ``end`` or, if it is not closed, to its delimiter; return the offset after it."""
        previous, ordered = -1, True
        while at < end:
            if not path and not self._data[at : at + 8].strip(b"\0") and not self._data[at:].strip(b"\0"):
                return end
            tag, length = self._header(at, end, path)
            if tag == ITEM_DELIMITATION and not closed:
                self._note_delimiter(length, f"the Item {format_path(path)}")
                at += 8
                break
            ordered, previous = ordered and tag > previous, tag
            at = self._element(at, end, tag, length, path)
        else:
            if not closed or at > end:
                raise _StructureError(f"{format_path(path) or self._whole} does not end where it should")
        if not ordered:
            self.found.changes.append(f"the elements of {format_path(path) or self._whole} were put in ascending order")
        return at

    def _element(self, at: int, end: int, tag: int, length: int, path: ItemPath) -> int:
        name = name_element(path, tag)
        vr, value = self._vrs.vr(tag), at + 8
        if not self._implicit:
            vr = self._data[at + 4 : at + 6].decode("latin-1")
            if vr not in FORMS:
                raise _StructureError(f"{name} has the VR {vr!r}, which is none of PS3.5's")
            if FORMS[vr] == SHORT:
                length = int.from_bytes(self._data[at + 6 : at + 8], self._byte_order)
            else:
                if self._data[at + 6 : at + 8] != b"\0\0":
                    self.found.changes.append(f"the reserved octets behind the VR of {name} were not zero")
                length = int.from_bytes(self._data[at + 8 : at + 12], self._byte_order)
                value += 4
        if vr == "SQ":
            return self._items(value, end if length == UNDEFINED_LENGTH else value + length, length, tag, path)
        stop = value + length
        if length == UNDEFINED_LENGTH and tag == PIXEL_DATA:
            stop = self._fragments(value, end, name)
            length = stop - 8 - value
        if length != UNDEFINED_LENGTH:
            if (path, tag) in self.found.values:
                raise _StructureError(f"{name} is there twice")
            self.found.values[path, tag] = vr, value, value + length
            return stop
        raise _StructureError(f"{name} has VR {vr} and an undefined length")

    def _items(self, at: int, end: int, length: int, tag: int, path: ItemPath) -> int:
        name, number = name_element(path, tag), 0
        if (path, tag) in self.found.items:
            raise _StructureError(f"{name} is there twice")
        while at < end:
            found, size = self._header(at, end, path)
            if found == SEQUENCE_DELIMITATION and length == UNDEFINED_LENGTH:
                self._note_delimiter(size, name)
                self.found.items[path, tag] = number
                return at + 8
            if found != ITEM:
                raise _StructureError(f"no Item begins at octet {at}, in {name}")
            inner = (*path, (tag, number))
            at = self.level(at + 8, end if size == UNDEFINED_LENGTH else at + 8 + size, size != UNDEFINED_LENGTH, inner)
            number += 1
        if length == UNDEFINED_LENGTH or at != end:
            raise _StructureError(f"{name} does not end where it should")
        self.found.items[path, tag] = number
        return at

    def _fragments(self, at: int, end: int, name: str) -> int:
        while at < end:
            found, size = self._header(at, end, ())
            if found == SEQUENCE_DELIMITATION:
                self._note_delimiter(size, name)
                return at + 8
            if found != ITEM:
                raise _StructureError(f"no fragment begins at octet {at}, in {name}")
            at += 8 + size
        raise _StructureError(f"{name} does not end where it should")

    def _header(self, at: int, end: int, path: ItemPath) -> tuple[int, int]:
        if end - at < 8:
            raise _StructureError(f"an element is cut short at octet {at}, in {format_path(path) or self._whole}")
        group, number, length = self._tag_and_length(self._data, at)
        return group << 16 | number, length

    def _note_delimiter(self, length: int, of: str) -> None:
        if length:
            self.found.changes.append(f"the delimiter of {of} had a length of {length}, and has none")
