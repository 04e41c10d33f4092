"""One presentation of a PIN to a device, from the entry in the record to the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto

from tokens.pins.refusal_record import Record, Refusal, State
from tokens.pins.sources import Pin


class Answer(Enum):
    """What a presentation of a PIN led to."""

    NOT_CHECKED = auto()
    """The PIN was not presented, or the device answered that it did not check it."""
    UNANSWERED = auto()
    """The PIN was presented, and the device has not answered."""
    REFUSED = auto()
    UNCLEAR = auto()
    """A device error, which does not say whether the device checked the PIN."""
    ACCEPTED = auto()
    """CKR_OK."""


class Presentation:
    """One PIN that is being presented. Call `begin` before the device is given it, and set `answer` afterwards."""

    def __init__(self, settle: Callable[[Presentation], None] | None = None, *, may_be_repeated: bool = False) -> None:
        """`settle` records a late answer."""
        self.may_be_repeated = may_be_repeated
        """Whether this PIN was accepted before, so that after an unclear answer it is presented once more."""
        self.answer = Answer.NOT_CHECKED
        self.readable_again = True
        """Whether the PIN can be read again on this machine by another process; False for one that was typed."""
        self.low_stays = False
        """Whether the device went on to report a low retry counter after it had accepted the PIN."""
        self.stays = True
        """Whether an accepted PIN stays the user's PIN; False for the officer's, and for one that was replaced."""
        self.is_awaited = False
        """Whether this process gets the answer if it comes late."""
        self._settle = settle
        self._waiting = contextlib.ExitStack()

    def begin(self) -> None:
        """Record that the device is given the PIN now: without an answer it stays unanswered."""
        self.answer = Answer.UNANSWERED

    def refuse(self) -> None:
        """Set the answer to a refusal, so that the entry stays."""
        self.answer = Answer.REFUSED

    def settle_late(self, answer: Answer) -> None:
        """Record an answer that came after the presentation had ended. Raises as `RefusalMemory.present` does."""
        self.answer = answer
        try:
            if self._settle is not None:
                self._settle(self)
        finally:
            self.stop_waiting()

    def wait_for_answer(self, marker: contextlib.AbstractContextManager[None]) -> None:
        """Hold `marker` until the late answer comes or the process ends."""
        self._waiting.enter_context(marker)

    def stop_waiting(self) -> None:
        """Release the marker: no answer will come."""
        self._waiting.close()


@dataclass(frozen=True)
class Entered:
    """A PIN that was recorded and is to be presented."""

    pin: Pin
    entry: Refusal
    known: Refusal | None
    """The entry of an earlier presentation of this PIN."""

    def settle(self, record: Record, presentation: Presentation) -> Record:
        """Return the record after the answer."""
        match presentation.answer:
            case Answer.REFUSED:
                refused = replace(self.entry, state=State.REFUSED)
                return replace(record.add(refused), accepted=None, low_stays=False)
            case Answer.UNCLEAR:
                return replace(record.add(replace(self.entry, state=State.UNCLEAR)), low_stays=False)
            case Answer.UNANSWERED:
                return record.add(self.entry)
            case Answer.ACCEPTED:
                struck_out = record.remove(self.entry).refuse_unanswered(self.entry.role)
                if not presentation.stays:
                    return struck_out
                accepted = struck_out.accept(
                    self.pin, self.entry.digest, datetime.now(UTC), readable_again=presentation.readable_again
                )
                return replace(accepted, low_stays=presentation.low_stays)
        if self.known is None:
            return record.remove(self.entry)
        # An unclear answer allowed this presentation, and no other one.
        spent = State.REFUSED if self.known.state is State.UNCLEAR else self.known.state
        return record.add(replace(self.known, state=spent, digest=self.entry.digest))
