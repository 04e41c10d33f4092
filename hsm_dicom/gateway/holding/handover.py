"""An object on its way to the target, as often as it must be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.gateway.holding.pdus import SplicedPDUs


@dataclass(frozen=True)
class FileHandover:
    """The Data Set that begins at `offset` of a file, with edits; see `hsm_dicom.gateway.hold.Handover`."""

    path: Path
    offset: int
    edits: Sequence[Edit] = field(repr=False)
    remove: Callable[[], None] = field(repr=False)
    note: Callable[[int, bool], None] | None = field(default=None, repr=False)

    def open(self, context_id: int, maximum: int) -> SplicedPDUs:
        """Return its Data Set as PDUs. Raises `OSError`."""
        return SplicedPDUs(self.path, self.offset, self.edits, context_id, maximum)

    def settle(self, status: int, is_answered: bool) -> None:
        """Record the target's status."""
        if self.note is not None:
            self.note(status, is_answered)

    def discard(self) -> None:
        """Remove the file."""
        self.remove()
