"""What a walk notes about a whole file besides its elements: places that others look at later."""

from __future__ import annotations

from hsm_dicom.dataset.element import EncapsulatedPlace
from hsm_dicom.dataset.refusals import Refusals
from hsm_dicom.dataset.source import Source
from hsm_dicom.dataset.tags import PIXEL_DATA, Path

MAX_SIGNED_ITEMS = 10_000
"""An object with more Items than this that hold signatures of their own is refused."""

MAX_ENCAPSULATED = 10_000
"""An object that holds encapsulated Pixel Data in more places than this is refused."""


class Notes(Refusals):
    """The notes of one walk.

    ``signed_items`` collects the places of Items that hold a Digital Signatures Sequence or MAC Parameters Sequence:
    path, start and end of their content; ``encapsulated`` those of encapsulated Pixel Data. ``overpadded`` may be set
    to a list: it collects path and tag of strings with more padding than an even length needs.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.signed_items: list[tuple[Path, int, int]] = []
        self.encapsulated: list[EncapsulatedPlace] = []
        self.overpadded: list[tuple[Path, int]] | None = None

    def _note_signed(self, path: Path, start: int, end: int) -> None:
        if len(self.signed_items) == MAX_SIGNED_ITEMS:
            self._fail(start, None, f"more than {MAX_SIGNED_ITEMS} Items hold signatures of their own; refused.")
        self.signed_items.append((path, start, end))

    def _note_encapsulated(self, place: EncapsulatedPlace) -> None:
        if len(self.encapsulated) == MAX_ENCAPSULATED:
            self._fail(place.start, PIXEL_DATA, f"more than {MAX_ENCAPSULATED} Data Sets hold Pixel Data; refused.")
        self.encapsulated.append(place)
