"""A few elements of an encoded Data Set, found while it arrives in pieces (PS3.5, 7.1 and 7.5).

    scanner = Scanner({0x0020000D: 64}, last=0x0020000D, implicit_vr=False)
    for piece in pieces:
        scanner.feed(piece)
    scanner.found                                   # {0x0020000D: b"1.2.3"}

`hsm_dicom.dataset.walk.walker` needs the whole Data Set, and refuses what two readers could read differently. This
scanner needs no octet again, holds none but those of headers and of the wanted values, and gives up where it cannot go
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from hsm_dicom.dataset.element import UNDEFINED_LENGTH
from hsm_dicom.dataset.tags import ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION
from hsm_dicom.dataset.vr import FORMS, UNKNOWN

MOST_ELEMENTS = 10_000
"""Headers of elements and Items that are read at the most, of those that are not inside a value of defined length."""

MOST_LEVELS = 64
"""Levels of sequences and Items of undefined length."""

_FORM_OF_CODE = {vr.encode(): form for vr, form in FORMS.items()}
_DELIMITERS = 0xFFFE
_SHORT_HEADER, _LONG_HEADER = 8, 12

_IMPLICIT = Struct("<HHI").unpack_from
_EXPLICIT = {False: Struct("<HH2sH").unpack_from, True: Struct(">HH2sH").unpack_from}
_LENGTH = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}

_HAS_ITEMS, _WAS_IMPLICIT, _WAS_BIG_ENDIAN = 1, 2, 4
"""Flags of a level: it has Items and not elements; the encoding of the level around it."""


class Scanner:
    """Finds elements of the main Data Set. `found` has the values that came, by tag.

    `wanted` are their tags, with the longest value of each that is kept. `last` is the greatest tag of interest.
    `is_over` becomes True behind it, at the bounds of this module, and where the encoding cannot be followed.
    """

    __slots__ = (
        "_big_endian",
        "_held",
        "_implicit",
        "_last",
        "_left",
        "_levels",
        "_size",
        "_skip",
        "_tag",
        "_wanted",
        "found",
        "is_over",
    )

    def __init__(self, wanted: Mapping[int, int], last: int, *, implicit_vr: bool, big_endian: bool = False) -> None:
        self.found: dict[int, bytes] = {}
        self.is_over = False
        self._wanted, self._last = wanted, last
        self._implicit, self._big_endian = implicit_vr, big_endian
        self._left = MOST_ELEMENTS
        self._levels: list[int] = []
        self._skip = 0
        """Octets of the current value that are not read."""
        self._tag: int | None = None
        """The element whose value is read, or None while a header is."""
        self._size = _SHORT_HEADER
        """Octets of the header or the value that is read."""
        self._held = bytearray()
        """Its first octets, if the pieces so far end inside it."""

    @property
    def is_between_elements(self) -> bool:
        """Whether the pieces so far end with a whole element of the main Data Set."""
        return not (self.is_over or self._skip or self._held or self._levels or self._tag is not None)

    def feed(self, data: memoryview | bytes) -> None:
        """Take the next piece, which is not used after the call."""
        at, end, held = 0, len(data), self._held
        while at < end and not self.is_over:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
            elif held or end - at < self._size:
                step = min(self._size - len(held), end - at)
                held += data[at : at + step]
                at += step
                if len(held) == self._size and self._take(bytes(held), 0, len(held)):
                    held.clear()
            else:
                if self._tag is None and not self._levels:
                    at = self._skim(data, at, end)
                    if self.is_over or end - at < self._size:
                        continue
                at += self._take(data, at, end - at)

    def _skim(self, data: memoryview | bytes, at: int, end: int) -> int:
        """Pass the elements that are wholly in the piece; return where the first one begins that is not, or is nested.

        `_take` does the same for every element. This loop takes a fifth of its time, and most elements end here.
        """
        found, wanted, last, left = self.found, self._wanted, self._last, self._left
        implicit, header = self._implicit, _EXPLICIT[self._big_endian]
        longer = _LENGTH[self._big_endian]
        value = stop = at
        while left and end - at >= _LONG_HEADER:
            if implicit:
                group, number, length = _IMPLICIT(data, at)
                value = at + _SHORT_HEADER
            else:
                group, number, code, length = header(data, at)
                form = _FORM_OF_CODE.get(code, -1)
                if form > 0:
                    length = longer(data, at + 8)[0]
                    value = at + _LONG_HEADER
                elif form == 0:
                    value = at + _SHORT_HEADER
                else:
                    break
            tag = group << 16 | number
            stop = value + length
            if tag > last or stop > end:  # a value of undefined length ends beyond every piece
                break
            at, left = stop, left - 1
            if tag in wanted:
                found[tag] = bytes(data[value:stop]) if length <= wanted[tag] else b""
                if tag == last:
                    self.is_over = True
                    break
        self._left = left
        return at

    def _take(self, data: memoryview | bytes, at: int, size: int) -> int:
        """Take a header, or a wanted value, of the octets at `at`; return its length, or 0 if it needs more of them."""
        tag = self._tag
        if tag is None:
            return self._take_header(data, at, size)
        length, self._size, self._tag = self._size, _SHORT_HEADER, None
        self._keep(tag, bytes(data[at : at + length]))
        return length

    def _take_header(self, data: memoryview | bytes, at: int, size: int) -> int:
        header, form = _SHORT_HEADER, UNKNOWN
        if self._implicit:
            group, number, length = _IMPLICIT(data, at)
        else:
            group, number, code, length = _EXPLICIT[self._big_endian](data, at)
        tag = group << 16 | number
        levels = self._levels
        if levels:
            if group == _DELIMITERS or levels[-1] & _HAS_ITEMS:
                self._take_delimiter(tag, _LENGTH[self._big_endian](data, at + 4)[0])
                return header
        elif tag > self._last:
            self.is_over = True
            return header
        if not self._implicit:
            form = _FORM_OF_CODE.get(code, -1)
            if form < 0:
                self.is_over = True
                return header
            if form:
                header = self._size = _LONG_HEADER
                if size < header:
                    return 0
                length = _LENGTH[self._big_endian](data, at + 8)[0]
        self._size = _SHORT_HEADER
        self._begin_value(tag, length, form)
        return header

    def _begin_value(self, tag: int, length: int, form: int) -> None:
        self._count()
        if length == UNDEFINED_LENGTH:
            self._descend(_HAS_ITEMS, is_unknown=form == UNKNOWN)
        elif not self._levels and tag in self._wanted:
            if 0 < length <= self._wanted[tag]:
                self._tag, self._size = tag, length
            else:
                self._skip = length
                self._keep(tag, b"")
        else:
            self._skip = length

    def _take_delimiter(self, tag: int, length: int) -> None:
        self._count()
        if self._levels[-1] & _HAS_ITEMS:
            if tag == ITEM and length == UNDEFINED_LENGTH:
                self._descend(0)
            elif tag == ITEM:
                self._skip = length
            elif tag == SEQUENCE_DELIMITATION:
                self._ascend()
            else:
                self.is_over = True
        elif tag == ITEM_DELIMITATION:
            self._ascend()
        else:
            self.is_over = True

    def _descend(self, kind: int, *, is_unknown: bool = False) -> None:
        around = (_WAS_IMPLICIT if self._implicit else 0) | (_WAS_BIG_ENDIAN if self._big_endian else 0)
        self._levels.append(kind | around)
        if is_unknown:  # a sequence in implicit VR little endian, in every Transfer Syntax (PS3.5, 6.2.2)
            self._implicit, self._big_endian = True, False
        if len(self._levels) > MOST_LEVELS:
            self.is_over = True

    def _ascend(self) -> None:
        around = self._levels.pop()
        self._implicit, self._big_endian = bool(around & _WAS_IMPLICIT), bool(around & _WAS_BIG_ENDIAN)

    def _keep(self, tag: int, value: bytes) -> None:
        self.found[tag] = value
        if tag == self._last:
            self.is_over = True

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.is_over = True
