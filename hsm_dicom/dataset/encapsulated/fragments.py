"""Fragments and offset tables of encapsulated Pixel Data (PS3.5 A.4), and their consistency.

The MAC byte stream contains a fragment's content, but not its length. A fragment that contains the tag of an Item or
of a Sequence Delimitation Item may therefore be two joined fragments, or a fragment and the elements after it. Such
octets also occur by chance, so they count as a tag only if the surrounding octets confirm it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from struct import iter_unpack, unpack

from hsm_dicom.dataset.element import ITEM_TAG, SEQUENCE_DELIMITATION_TAG, EncapsulatedPlace
from hsm_dicom.dataset.encapsulated.codestream import (
    END_OF_IMAGE,
    LONGEST_START,
    RLE_HEADER,
    RLE_LOSSLESS,
    Codestream,
    begins_codestream,
    begins_frame,
    has_markers,
    has_one_fragment_a_frame,
    has_tile_parts,
    is_rle_header,
    is_video,
)
from hsm_dicom.dataset.octets.source import CHUNK, Source
from hsm_dicom.dataset.tags import ItemPath, format_path, never_signable
from hsm_dicom.dataset.vr import FORMS, SHORT, UNKNOWN

_TAG = re.compile(rb"\xfe\xff[\x00\xdd]\xe0")
_HEADER = 8
_HEADERS = 64 * _HEADER
"""Octets read at once for fragment headers; if fragments are small, this covers many."""
_MOST_PADDING = 4096
"""Octets before an Item tag that are searched for an end marker."""


MOST_BY_CHANCE = 10_000
"""Maximum number of tags by chance in one Pixel Data; compressed data has one in about 20 MiB."""


class DefectKind(Enum):
    """Kind of inconsistency in encapsulated Pixel Data."""

    JOINED = "joined"
    """A fragment contains the tag of an Item: it may be two joined fragments."""
    SWALLOWED = "swallowed"
    """A fragment contains a Sequence Delimitation Item: it may include elements after the Pixel Data."""
    FRAME_COUNT = "frame count"
    """The number of fragments does not fit Number of Frames (0028,0008)."""
    OFFSET_TABLE = "offset table"
    """The Basic or Extended Offset Table does not point at the fragments."""
    NO_FRAME = "no frame"
    """A fragment does not begin as the Transfer Syntax requires."""
    HAZARD = "hazard"
    """A fragment could be split: non-padding octets follow a frame, or it contains a tag, perhaps by chance."""


@dataclass(frozen=True)
class Defect:
    """One defect: its kind, a clause that describes it, and its byte offset in the (inflated) file."""

    kind: DefectKind
    clause: str
    offset: int


@dataclass(frozen=True)
class OffsetTables:
    """Start and end of the values of Extended Offset Table (7FE0,0001) and its Lengths (7FE0,0002), if present."""

    offsets: tuple[int, int] | None = None
    lengths: tuple[int, int] | None = None


@dataclass
class EncapsulatedPixelData:
    """The encapsulated Pixel Data of one Data Set, read on demand.

    ``frames`` is Number of Frames (0028,0008), 1 if it is absent or empty, None if it is not a positive number.
    """

    source: Source
    syntax: str
    place: EncapsulatedPlace
    frames: int | None
    tables: OffsetTables
    _has_tags: bool = field(default=False, init=False)

    @property
    def path(self) -> ItemPath:
        """The path of the Data Set that contains it."""
        return self.place.path

    @cached_property
    def defects(self) -> tuple[Defect, ...]:
        """The first defect of each kind that affects every reader."""
        found = [self._count_defect(), self._table_defect(), self._rle_defect(), *self._tag_defects()]
        if not any(defect and defect.kind is DefectKind.JOINED for defect in found):
            found.append(self._tile_part_defect())
        return tuple(defect for defect in found if defect is not None)

    @cached_property
    def hazard(self) -> Defect | None:
        """The first position where a fragment could be split undetectably; this alone is not a defect."""
        if has_markers(self.syntax):
            return self._surplus()
        if self.syntax == RLE_LOSSLESS or is_video(self.syntax):
            return None  # a split would change the fragment count; no rule applies to video
        for number, (start, end) in enumerate(self.fragments(), 1):
            for at, tag in self._tags(start, end):
                if tag == ITEM_TAG and (at - start) % 2 == 0:
                    clause = f"fragment {number}{self._where} holds, at byte {at}, the octets of an Item tag"
                    return Defect(DefectKind.HAZARD, clause, at)
        return None

    def _surplus(self) -> Defect | None:
        frame = Codestream()
        for number, (start, end) in enumerate(self.fragments(), 1):
            if start == end:
                continue
            if begins_codestream(self.source.read(start, min(end, start + LONGEST_START))):
                frame = Codestream()
            for at in range(start, end, CHUNK):
                frame.feed(self.source.read(at, min(end, at + CHUNK)))
            if frame.has_surplus:
                clause = f"fragment {number}{self._where} has octets behind the end marker of its frame"
                return Defect(DefectKind.HAZARD, clause, start)
        return None

    def fragments(self) -> Iterator[tuple[int, int]]:
        """Yield start and end of each fragment's content, without the Basic Offset Table."""
        at, last = self._table_end, self.place.end - _HEADER
        window, base = b"", at
        while at < last:
            if not 0 <= at - base <= len(window) - _HEADER:
                window, base = self.source.read(at, min(self.place.end, at + _HEADERS)), at
            start = at + _HEADER
            at = start + int.from_bytes(window[start - 4 - base : start - base], "little")
            yield start, at

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self.fragments())

    @cached_property
    def _table_end(self) -> int:
        """The offset after the Basic Offset Table, which is that of the first fragment's Item tag."""
        return self.place.value + _HEADER + _u32(self.source, self.place.value + 4)

    @property
    def _where(self) -> str:
        return f" of Pixel Data in {format_path(self.path)}" if self.path else " of Pixel Data"

    def _count_defect(self) -> Defect | None:
        frames = 1 if is_video(self.syntax) else self.frames
        exactly = has_one_fragment_a_frame(self.syntax) or self.tables.offsets is not None
        if self._count >= (frames or 1) and not (exactly and self._count != frames):
            return None
        wanted = "an unreadable Number of Frames"
        if frames is not None:
            wanted = "1 frame" if frames == 1 else f"{frames} frames"
        subject = "the only fragment" if self._count == 1 else f"the {self._count} fragments"
        clause = f"{subject}{self._where} {'does' if self._count == 1 else 'do'} not fit {wanted}"
        return Defect(DefectKind.FRAME_COUNT, clause, self.place.value)

    def _rle_defect(self) -> Defect | None:
        if self.syntax != RLE_LOSSLESS:
            return None
        for number, (start, end) in enumerate(self.fragments(), 1):
            if not is_rle_header(self.source.read(start, min(end, start + RLE_HEADER))):
                clause = f"fragment {number}{self._where} does not begin with an RLE header"
                return Defect(DefectKind.NO_FRAME, clause, start)
        return None

    def _table_defect(self) -> Defect | None:
        """Check that both tables list the fragments' Items, one for each frame and in order (PS3.5 A.4)."""
        has_basic = self._table_end > self.place.value + _HEADER
        if has_basic and not self._fits_basic():
            clause = f"the Basic Offset Table{self._where} does not point at its frames"
        elif self.tables != OffsetTables() and (has_basic or not self._fits_extended()):
            clause = f"the Extended Offset Table{self._where} does not point at its frames"
        else:
            return None
        return Defect(DefectKind.OFFSET_TABLE, clause, self.place.value)

    def _fits_basic(self) -> bool:
        value, end = self.place.value + _HEADER, self._table_end
        count = (end - value) // 4
        # Some writers list every fragment of a frame; such a table protects the fragments even better.
        usual = (1, self.frames) if is_video(self.syntax) else (self.frames, self._count)
        if (end - value) % 4 or not (count in usual or self.frames is None):
            return False
        items = (start - _HEADER - end for start, _ in self.fragments())
        previous = -1
        for offset in _numbers(self.source, value, end, "<I"):
            if offset <= previous or (previous < 0) != (offset == 0) or offset >= self.place.end - end:
                return False
            if not is_video(self.syntax) and offset not in items:  # continues after the Item found last
                return False
            previous = offset
        return True

    def _fits_extended(self) -> bool:
        spans = [span or (0, 0) for span in (self.tables.offsets, self.tables.lengths)]
        if any(end - start != 8 * self._count for start, end in spans):
            return False
        columns = [_numbers(self.source, *span, "<Q") for span in spans]
        for offset, length, (start, end) in zip(*columns, self.fragments(), strict=True):
            if offset != start - _HEADER - self._table_end or end - start - length not in (0, 1):
                return False
        return True

    def _tag_defects(self) -> Iterator[Defect]:
        """Yield the first Item tag and the first Sequence Delimitation tag in a fragment that are not by chance."""
        joined = swallowed = False
        by_chance = 0
        frame = _FrameReader(self.source) if has_markers(self.syntax) else None
        for number, (start, end) in enumerate(self.fragments(), 1):
            if end - start < len(ITEM_TAG):
                continue
            if frame is not None:
                frame.enter(start, end)
            for at, tag in self._tags(start, end):
                where = f"fragment {number}{self._where} holds, at byte {at},"
                is_item = tag == ITEM_TAG
                if is_item and (by_chance == MOST_BY_CHANCE or self._is_item(start, at, end, frame)):
                    if not joined:
                        yield Defect(DefectKind.JOINED, f"{where} the tag of another fragment's Item", at)
                    joined = True
                elif not is_item and (by_chance == MOST_BY_CHANCE or self._is_delimiter(at, end)):
                    if not swallowed:
                        yield Defect(DefectKind.SWALLOWED, f"{where} the end of Pixel Data and what follows it", at)
                    swallowed = True
                else:
                    by_chance += 1
                    self._has_tags = True
                if joined and swallowed:
                    return

    def _tile_part_defect(self) -> Defect | None:
        """Find a JPEG 2000 frame with a tile-part that is a few Item tags too long or too short.

        Its fragments were joined or split in entropy-coded data, where a tag looks like octets by chance.
        """
        if not has_tile_parts(self.syntax) or not (self._has_tags or self._count > (self.frames or 1)):
            return None
        frame, changes, first = Codestream(), 0, 0
        for number, (start, end) in enumerate(self.fragments(), 1):
            if begins_codestream(self.source.read(start, min(end, start + LONGEST_START))):
                frame, changes, first = Codestream(), 0, number
            changes += 1 + sum(1 for _, tag in self._tags(start, end) if tag == ITEM_TAG)
            for at in range(start, end, CHUNK):
                frame.feed(self.source.read(at, min(end, at + CHUNK)))
            if frame.misfit and not frame.misfit % len(ITEM_TAG) and abs(frame.misfit) < len(ITEM_TAG) * changes:
                what = f"{abs(frame.misfit)} octets {'more' if frame.misfit > 0 else 'less'} than it says"
                clause = f"a tile-part of the frame that begins in fragment {first}{self._where} has {what}"
                return Defect(DefectKind.JOINED, clause, start)
        return None

    def _tags(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield offset and octets of each of the two tags in ``[start, end)``."""
        for at in range(start, end, CHUNK):
            data = self.source.read(at, min(end, at + CHUNK + len(ITEM_TAG) - 1))
            for found in _TAG.finditer(data):
                yield at + found.start(), found[0]

    def _is_item(self, start: int, at: int, end: int, frame: _FrameReader | None) -> bool:
        """Return whether a fragment could have begun or ended at an Item tag inside a fragment."""
        behind = at + len(ITEM_TAG)
        if begins_frame(self.source.read(behind, min(end, behind + LONGEST_START))):
            return True
        before = self.source.read(max(start, at - _MOST_PADDING), at)
        if before.rstrip(b"\0").endswith(END_OF_IMAGE) or before[:-1].endswith(END_OF_IMAGE):
            return True
        return frame is not None and not frame.is_in_entropy_coded_data(at)

    def _is_delimiter(self, at: int, end: int) -> bool:
        """Return whether the octets after a Sequence Delimitation tag can follow one in a MAC byte stream."""
        behind = at + len(SEQUENCE_DELIMITATION_TAG)
        following = self.source.read(behind, min(end, behind + _HEADER))
        if len(following) < _HEADER:  # next in the stream is the tag after the fragment, without its length
            following += self.source.read(end, end + len(ITEM_TAG))
        if following[:4] in (ITEM_TAG, SEQUENCE_DELIMITATION_TAG):
            return True
        if len(following) < _HEADER:
            return False
        group, number, code, length = unpack("<HH2sH", following[:_HEADER])
        form = FORMS.get(code.decode("latin-1"), UNKNOWN)
        if form == UNKNOWN or never_signable(group << 16 | number):
            return False
        return not length % 2 if form == SHORT else not length


class _FrameReader:
    """Lazy reader of the codestream of each frame across its fragments."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._frame = Codestream()
        self._unread: tuple[int, int] | None = None

    def enter(self, start: int, end: int) -> None:
        """Continue with the fragment ``[start, end)``, which may begin a frame."""
        if begins_codestream(self._source.read(start, min(end, start + LONGEST_START))):
            self._frame = Codestream()
            self._unread = None
        self._unread = self._unread or (start, end)

    def is_in_entropy_coded_data(self, at: int) -> bool:
        """Return whether the octet at ``at``, in the fragment entered last, is entropy-coded data."""
        start, end = self._unread or (at, at)
        while True:
            for part in range(start, min(end, at), CHUNK):
                self._frame.feed(self._source.read(part, min(end, at, part + CHUNK)))
            if at <= end:
                break
            start = end + _HEADER
            end = start + _u32(self._source, end + 4)
        self._unread = (at, end)
        return self._frame.in_entropy_coded_data


def _u32(source: Source, at: int) -> int:
    return int.from_bytes(source.read(at, at + 4), "little")


def _numbers(source: Source, start: int, end: int, form: str) -> Iterator[int]:
    """Yield the unsigned integers in ``[start, end)``, read in parts."""
    for at in range(start, end, CHUNK):
        for (number,) in iter_unpack(form, source.read(at, min(end, at + CHUNK))):
            yield number
