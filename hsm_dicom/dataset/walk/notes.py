"""Positions that a walk records for later use, in addition to the elements of a file."""

from __future__ import annotations

from hsm_dicom.dataset.element import Element, EncapsulatedPlace
from hsm_dicom.dataset.octets.source import Source
from hsm_dicom.dataset.tags import PIXEL_DATA, ItemPath
from hsm_dicom.dataset.walk.refusals import Refusals

MAX_SIGNED_ITEMS = 10_000
"""Maximum number of Items in one object that contain their own signatures."""

MAX_ENCAPSULATED = 10_000
"""Maximum number of Data Sets in one object that contain encapsulated Pixel Data."""

MAX_OVERPADDED = 100_000
"""Maximum number of strings with surplus padding that one walk notes."""

KEPT_UNSIGNABLE = 100_000
"""Maximum number of unsignable elements inside sequences that one walk keeps."""


class Notes(Refusals):
    """The notes of one walk.

    ``signed_items`` lists the Items that contain a Digital Signatures Sequence or MAC Parameters Sequence: path, start
    and end of their content. ``encapsulated`` lists the positions of encapsulated Pixel Data. ``unsignable_inside``
    lists the elements inside sequences whose tags PS3.3 C.12.1.1.3.1.1 excludes from signatures, with the paths of
    their Items, up to KEPT_UNSIGNABLE; it omits group lengths of four octets. Set ``overpadded`` to a list to collect
    path and tag of strings with more padding than an even length needs.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.signed_items: list[tuple[ItemPath, int, int]] = []
        self.encapsulated: list[EncapsulatedPlace] = []
        self.unsignable_inside: list[tuple[ItemPath, Element]] = []
        self.overpadded: list[tuple[ItemPath, int]] | None = None

    def _note_padding(self, tag: int, vr: str, value: int, stop: int, path: ItemPath) -> None:
        """Note a string whose encoding ends with more padding than an even length needs."""
        if self.overpadded is None or stop - value < 2 or len(self.overpadded) == MAX_OVERPADDED:
            return
        tail = self._source.read(stop - 2, stop)
        if tail == b"  " if vr != "UI" else tail == b"\0\0" or tail[1:] == b" ":
            self.overpadded.append((path, tag))

    def _note_signed(self, path: ItemPath, start: int, end: int) -> None:
        if len(self.signed_items) == MAX_SIGNED_ITEMS:
            self._fail(start, None, f"more than {MAX_SIGNED_ITEMS} Items hold signatures of their own; refused.")
        self.signed_items.append((path, start, end))

    def _note_encapsulated(self, place: EncapsulatedPlace) -> None:
        if len(self.encapsulated) == MAX_ENCAPSULATED:
            self._fail(place.start, PIXEL_DATA, f"more than {MAX_ENCAPSULATED} Data Sets hold Pixel Data; refused.")
        self.encapsulated.append(place)

    def _note_unsignable(self, path: ItemPath, element: Element) -> None:
        is_group_length = element.tag & 0xFFFF == 0 and element.vr == "UL" and element.end - element.value == 4
        if not is_group_length and len(self.unsignable_inside) < KEPT_UNSIGNABLE:
            self.unsignable_inside.append((path, element))
