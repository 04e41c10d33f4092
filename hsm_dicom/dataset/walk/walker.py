"""Structural parser of the encoded bytes of a Data Set (PS3.5 Section 7 and Annex A).

The walker reads a Data Set once, from its first byte to its last. Its result is the only source of the MAC byte
stream, of coverage and of displayed values. It therefore rejects every encoding that two readers could read
differently: tags must ascend strictly at every level, lengths must be even and stay inside the enclosing structure,
reserved fields and delimiters must conform to PS3.5, and VRs must be those of PS3.5.

The walker decodes no values and reads no large values. It reduces each sequence to the pieces of its MAC byte stream
(PS3.3 C.12.1.1.3.1.2): tag and VR, then for each Item the Item tag and its content, then a Sequence Delimitation tag.
The pieces contain no lengths of sequences and Items, and no unsignable elements.
"""

from __future__ import annotations

from collections.abc import Callable

from hsm_dicom.dataset.element import (
    ITEM_TAG,
    SEQUENCE_DELIMITATION_TAG,
    UNDEFINED_LENGTH,
    Element,
    EncapsulatedPlace,
    ItemBounds,
    explicit_header,
)
from hsm_dicom.dataset.octets.source import Piece, Source
from hsm_dicom.dataset.tags import (
    DATA_SET_TRAILING_PADDING,
    DIGITAL_SIGNATURES_SEQUENCE,
    ITEM,
    ITEM_DELIMITATION,
    LENGTH_TO_END,
    MAC_PARAMETERS_SEQUENCE,
    PIXEL_DATA,
    SEQUENCE_DELIMITATION,
    ItemPath,
    format_tag,
    never_signable,
)
from hsm_dicom.dataset.transfer_syntax import IMPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from hsm_dicom.dataset.vr import (
    FORMS,
    LONG,
    PLAIN,
    SEQUENCE,
    SHORT,
    STRINGS,
    SWAPPED_UNITS,
    UNKNOWN,
    ImplicitVRs,
    Reading,
)
from hsm_dicom.dataset.walk.header_window import HeaderWindow
from hsm_dicom.dataset.walk.known_headers import HEADER, recall, remember
from hsm_dicom.dataset.walk.notes import Notes

__all__ = ["ITEM_TAG", "Element", "Walker"]

MAX_DEPTH = 64
"""Maximum nesting depth of sequences; reports of PS3.3 stay far below it."""

MAX_ELEMENTS = 100_000
"""Maximum number of elements at one level; large Data Sets of PS3.3 have a few hundred."""

KEPT_PIECES = 50_000
"""Maximum number of MAC byte stream pieces that one walk keeps; further pieces are recreated on request."""

_FORM_OF_CODE = {vr.encode(): (vr, form, vr in STRINGS) for vr, form in FORMS.items()}
_GREATEST_PAD_BYTE = 0x20  # a space; the other one is zero (PS3.5 6.2)
_NEVER_SIGNED = frozenset((LENGTH_TO_END, MAC_PARAMETERS_SEQUENCE, DATA_SET_TRAILING_PADDING))


class Walker(Notes):
    """Walker over the levels of one source in one Transfer Syntax.

    ``reading`` selects the VRs of implicit VR elements where PS3.6 leaves a choice. All methods raise
    MalformedDataSetError.
    """

    def __init__(self, source: Source, syntax: TransferSyntax, *, reading: Reading = PLAIN) -> None:
        super().__init__(source)
        self._syntax = syntax
        self._reading = reading
        self._window = HeaderWindow(source, syntax)
        self._pieces: list[Piece] = []
        self._kept = 0
        self._spill: Callable[[list[Piece]], None] = self._drop
        self._dropped = False
        self._has_un = False

    def data_set(self, start: int, end: int, path: ItemPath = ()) -> tuple[Element, ...]:
        """Return the elements encoded in ``[start, end)``, which must be exactly one Data Set."""
        elements: list[Element] = []
        self._window.load(start)
        self._level(start, end, True, path, elements)
        return tuple(elements)

    def items(self, sequence: Element, path: ItemPath = ()) -> list[ItemBounds]:
        """Return the bounds of the Items of a sequence. ``path`` locates the Data Set that contains the sequence."""
        self._window.load(sequence.start)
        bounds: list[ItemBounds] = []
        length = self._window.u32(sequence.value - 4)
        defined_end = sequence.end if length != UNDEFINED_LENGTH else -1
        self._sequence(sequence.tag, sequence.value, defined_end, sequence.end, path, bounds)
        return bounds

    def stream(self, element: Element, path: ItemPath, update: Callable[[bytes | memoryview], object]) -> int:
        """Pass the MAC byte stream of a sequence or of encapsulated Pixel Data to ``update`` and return its size.

        ``path`` locates the Data Set that contains the element.
        """

        size = 0

        def feed(pieces: list[Piece]) -> None:
            nonlocal size
            size += self._source.feed(pieces, update)
            pieces.clear()

        self._window.load(element.start)
        length = self._window.u32(element.value - 4)
        vr = "SQ" if element.vr == "SQ" else "OB"
        self._pieces, self._spill = [explicit_header(element.tag, vr, None)], feed
        if vr == "SQ":
            defined_end = element.end if length != UNDEFINED_LENGTH else -1
            self._sequence(element.tag, element.value, defined_end, element.end, path, None)
        else:
            self._fragments(element.value, element.end)
        feed(self._pieces)
        self._spill = self._drop
        return size

    def _drop(self, pieces: list[Piece]) -> None:
        self._dropped = True
        pieces.clear()

    def _level(self, pos: int, end: int, closed: bool, path: ItemPath, keep: list[Element] | None) -> int:
        """Walk the elements of one Data Set and return the offset after the last one.

        A ``closed`` level ends at ``end``, any other level at its Item Delimitation Item. The elements are appended to
        ``keep``; if it is None (inside a sequence), the level is appended to the pieces of the current sequence.

        This is the hot loop: other methods handle the rare cases.
        """
        window, unpack_header, form_of_code = self._window, self._window.unpack_header, _FORM_OF_CODE
        implicit, verbatim = self._syntax.implicit_vr, self._syntax.verbatim
        notes_padding = self.overpadded is not None
        buffer, base, refill_at = window.buffer, window.base, window.refill_at
        held = len(buffer)
        vrs = ImplicitVRs(self._reading)
        new_element = tuple.__new__  # a third of what Element() costs
        previous = -1
        start = run = pos  # run: start of the bytes that are not among the pieces yet
        signed = False
        while pos < end:
            if pos > refill_at:
                window.load(pos)
                buffer, base, refill_at = window.buffer, window.base, window.refill_at
                held = len(buffer)
            # A known header has passed the checks of the other branch before, except those that depend on its position.
            known = recall(buffer[pos - base : pos - base + HEADER]) if verbatim else None
            if known is not None and known[0] > previous and pos + known[2] <= end:
                tag, vr, size, is_string = known
                previous, value, stop, form, signable = tag, pos + HEADER, pos + size, SHORT, True
            else:
                if end - pos < 8:
                    self._fail(pos, None, f"{end - pos} stray bytes where a Data Element should begin.")
                if implicit:
                    group, number, length = unpack_header(buffer, pos - base)
                else:
                    group, number, code, length = unpack_header(buffer, pos - base)
                tag = group << 16 | number
                if tag <= previous or group == 0xFFFE:
                    if tag == ITEM_DELIMITATION and not closed:
                        break
                    self._refuse_misplaced(pos, tag, previous)
                previous = tag
                value = pos + 8
                if implicit:
                    vr = vrs.vr(tag)
                    form, is_string = FORMS[vr], vr in STRINGS
                else:
                    try:
                        vr, form, is_string = form_of_code[code]
                    except KeyError:
                        self._fail(pos, tag, f"its VR {code!r} is none of PS3.5's.")
                    if form:
                        value += 4
                        length = window.long_length(pos, tag, length, end)

                if form == SEQUENCE or length == UNDEFINED_LENGTH:
                    element = self._read_structured(tag, vr, form, run, pos, value, length, end, path, keep is not None)
                    buffer, base, refill_at = window.buffer, window.base, window.refill_at
                    held = len(buffer)
                    run = stop = element.end
                    signed = signed or tag in (DIGITAL_SIGNATURES_SEQUENCE, MAC_PARAMETERS_SEQUENCE)
                    if tag == PIXEL_DATA and form == LONG:
                        self._note_encapsulated(EncapsulatedPlace(path, start, pos, value, stop))
                    if keep is not None:
                        keep.append(element)
                        if len(keep) > MAX_ELEMENTS:
                            self._refuse_number(stop, tag, MAX_ELEMENTS)
                    pos = stop
                    continue

                stop = value + length
                if stop > end or length & 1:
                    self._bad_length(pos, tag, length, stop, end)
                if form == SHORT and length > 0xFFFF:  # PS3.5 6.2.2: explicit VR encodes such a long value as UN
                    vr, form = "UN", UNKNOWN
                if not verbatim:
                    self._look_closer(tag, vr, pos, value, stop, vrs)
                signable = number != 0 and group >= 0x0008 and tag not in _NEVER_SIGNED and group != 0xFFFA
                if verbatim and form == SHORT and signable:
                    remember(buffer[pos - base : value - base], (tag, vr, stop - pos, is_string))
            if is_string and notes_padding:
                last = stop - base - 1  # surplus padding: two pad bytes, or a space after a UI
                if last >= held or (
                    buffer[last] <= _GREATEST_PAD_BYTE and (buffer[last - 1] <= _GREATEST_PAD_BYTE or vr == "UI")
                ):
                    self._note_padding(tag, vr, value, stop, path)
            if keep is not None:
                has_un = form == UNKNOWN
                keep.append(new_element(Element, (tag, vr, pos, value, stop, None, has_un, signable and not has_un)))
                if len(keep) > MAX_ELEMENTS:
                    self._refuse_number(stop, tag, MAX_ELEMENTS)
            else:
                if form == UNKNOWN:
                    self._has_un = True
                if not signable:
                    if verbatim and run < pos:
                        self._pieces.append((run, pos, 1))
                    run = stop
                    self._note_unsignable(path, Element(tag, vr, pos, value, stop, None, form == UNKNOWN, False))
                elif not verbatim:
                    self._pieces.append(explicit_header(tag, vr, length))
                    self._pieces.append((value, stop, self._unit(vr)))
            pos = stop

        if pos >= end and not closed:
            self._fail(pos, None, "the Item has no Item Delimitation Item; the file is truncated or corrupt.")
        if keep is None:
            if verbatim and run < pos:
                self._pieces.append((run, pos, 1))
            self._spill_if_many()
            if signed:
                self._note_signed(path, start, pos)
        return pos

    def _look_closer(self, tag: int, vr: str, pos: int, value: int, stop: int, vrs: ImplicitVRs) -> None:
        """Run the checks that only some encodings need: length and byte swapping, VRs of other elements."""
        if self._syntax.big_endian and (stop - value) % self._unit(vr):
            self._fail(pos, tag, f"its length, {stop - value} bytes, does not fit its VR {vr}.")
        if self._syntax.implicit_vr and (wanted := vrs.measure_needed(tag)):
            vrs.note(tag, self._source.read(value, min(stop, value + wanted)))

    def _read_structured(
        self,
        tag: int,
        vr: str,
        form: int,
        run: int,
        pos: int,
        value: int,
        length: int,
        end: int,
        path: ItemPath,
        keeps: bool,
    ) -> Element:
        """Walk a sequence or a value of undefined length and append its MAC byte stream to the pieces.

        ``run`` is the start of the preceding bytes that are not among the pieces yet. With ``keeps``, the pieces are
        those of this element alone.
        """
        verbatim = self._syntax.verbatim
        signable = not never_signable(tag)
        if keeps:
            self._pieces, self._has_un, self._dropped, run = [], False, False, pos
        pieces, spill = self._pieces, self._spill
        if not signable:
            if verbatim and run < pos:
                pieces.append((run, pos, 1))
            self._pieces, self._spill = [], list.clear
        elif form == LONG:
            if verbatim and run < pos:
                pieces.append((run, pos, 1))
            pieces.append(explicit_header(tag, "OB", None))  # PS3.5 A.4 requires OB; DCMTK also corrects OW to OB
        elif verbatim:
            pieces.append((run, pos + 8, 1))
        else:
            pieces.append(explicit_header(tag, vr, None))

        if form == SEQUENCE:
            defined_end = -1 if length == UNDEFINED_LENGTH else value + length
            if defined_end > end:
                self._overrun(pos, tag, length, defined_end, end)
            stop = self._sequence(tag, value, defined_end, end, path, None)
        elif form == UNKNOWN:
            stop = self._unknown_of_undefined_length(tag, value, end, path)
        elif tag == PIXEL_DATA and vr in ("OB", "OW") and self._syntax.encapsulated:
            stop = self._fragments(value, end)
        else:
            self._fail(pos, tag, f"an element of VR {vr} cannot have an undefined length in this Transfer Syntax.")

        self._pieces, self._spill = pieces, spill
        if not keeps:
            element = Element(tag, vr, pos, value, stop, (), False, False)
            if not signable:
                self._note_unsignable(path, element)
            return element
        self._kept += len(pieces)
        kept = () if self._dropped else tuple(pieces)
        return Element(tag, vr, pos, value, stop, kept, self._has_un, signable and not self._has_un)

    def _sequence(
        self, tag: int, pos: int, defined_end: int, end: int, path: ItemPath, bounds: list[ItemBounds] | None
    ) -> int:
        """Walk the Items of a sequence up to ``defined_end``, or to its delimiter if that is -1."""
        if len(path) >= MAX_DEPTH:
            self._fail(pos, tag, f"sequences are nested more than {MAX_DEPTH} deep; refused.")
        limit = defined_end if defined_end >= 0 else end
        number = 0
        while pos < limit:
            found, length = self._window.item_header(pos, limit)
            if found == SEQUENCE_DELIMITATION and defined_end < 0:
                self._check_zero_length(pos, tag, length)
                self._pieces.append(SEQUENCE_DELIMITATION_TAG)
                return pos + 8
            if found != ITEM:
                self._fail(pos, tag, f"{format_tag(found)} stands where an Item of this sequence should begin.")
            value = pos + 8
            self._pieces.append(ITEM_TAG)
            inner = (*path, (tag, number))
            if length == UNDEFINED_LENGTH:
                content_end = self._level(value, limit, False, inner, None)
                self._check_zero_length(content_end, tag, self._window.item_header(content_end, limit)[1])
                stop = content_end + 8
            else:
                stop = content_end = value + length
                if stop > limit:
                    self._overrun(pos, ITEM, length, stop, limit)
                self._level(value, stop, True, inner, None)
            if bounds is not None:
                bounds.append(ItemBounds(pos, value, content_end, stop))
            pos = stop
            number += 1
        if defined_end < 0:
            self._fail(pos, tag, "its Sequence Delimitation Item is missing; the file is truncated or corrupt.")
        self._pieces.append(SEQUENCE_DELIMITATION_TAG)
        return pos

    def _fragments(self, pos: int, end: int) -> int:
        """Walk encapsulated Pixel Data (PS3.5 A.4): the Basic Offset Table's Item, then the fragments."""
        first = pos
        while True:
            found, length = self._window.item_header(pos, end)
            if found == SEQUENCE_DELIMITATION:
                break
            if found != ITEM:
                self._fail(pos, PIXEL_DATA, f"{format_tag(found)} stands where a fragment should begin.")
            stop = pos + 8 + length
            if stop > end:
                self._overrun(pos, ITEM, length, stop, end)
            if length & 1:
                self._fail(pos, PIXEL_DATA, f"a fragment's length, {length} bytes, is odd, which PS3.5 A.4 forbids.")
            self._pieces.append(ITEM_TAG)
            self._pieces.append((pos + 8, stop, 1))
            self._spill_if_many()
            pos = stop
        self._check_zero_length(pos, PIXEL_DATA, length)
        if pos == first:
            self._fail(pos, PIXEL_DATA, "the Basic Offset Table's Item is missing, which PS3.5 A.4 demands.")
        self._pieces.append(SEQUENCE_DELIMITATION_TAG)
        return pos + 8

    def _unknown_of_undefined_length(self, tag: int, value: int, end: int, path: ItemPath) -> int:
        """Walk a UN value of undefined length: always a sequence in implicit VR little endian (PS3.5 6.2.2)."""
        inside = Walker(self._source, TransferSyntax(IMPLICIT_VR_LITTLE_ENDIAN, implicit_vr=True))
        inside._window.load(value)
        stop = inside._sequence(tag, value, -1, end, path, None)
        self._has_un = True
        self._window.load(stop)
        return stop

    def _spill_if_many(self) -> None:
        if len(self._pieces) + self._kept > KEPT_PIECES:
            self._spill(self._pieces)

    def _unit(self, vr: str) -> int:
        """Return the size in bytes of the units of this VR that must be swapped; 1 if none."""
        return SWAPPED_UNITS.get(vr, 1) if self._syntax.big_endian else 1
