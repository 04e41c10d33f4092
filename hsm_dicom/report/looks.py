"""The look of outcomes: an icon, a colour and a label each, never a colour alone; and bars of their shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hsm_dicom.validation.validator import Indication, Outcome, Verdict

_GAP = 3
"""Thousandths between the segments of a bar."""


@dataclass(frozen=True)
class Look:
    """Look of a file's outcome: icon and colour, label, and the title of a page about this file only."""

    kind: str
    label: str
    title: str
    heading: str
    is_good: bool = False

    @property
    def anchor(self) -> str:
        """The id of the group of files with this look."""
        return "group-" + self.label.replace(",", "").replace(" ", "-")


@dataclass(frozen=True)
class Segment:
    """One part of a bar, in thousandths of its width. `anchor` is the id of what it counts, if there is one."""

    kind: str
    label: str
    count: int
    left: float
    width: float
    anchor: str = ""


_VALID = Look("good", "valid", "Valid", "Valid", is_good=True)
_VALID_BUT = Look("but", "valid, but", "Valid, with reservations", "Valid, with reservations", is_good=True)
_INVALID = Look("bad", "invalid", "Invalid", "Invalid: do not rely on these objects")
_CANNOT_TELL = Look("unsure", "cannot tell", "Cannot tell", "Cannot tell: something that a verdict needs is missing")
_LOOKS = {
    Outcome.QUESTIONABLE: Look(
        "question", "questionable", "Questionable", "Questionable: do not rely on these objects as they stand"
    ),
    Outcome.POLICY_NOT_MET: Look(
        "bad", "policy not met", "The policy is not met", "Valid, and not what the policy requires"
    ),
    Outcome.UNREADABLE: Look("bad", "unreadable", "The file could not be read", "Could not be read"),
    Outcome.NO_SIGNATURE: Look("unsure", "not signed", "Not signed", "Not signed"),
    Outcome.EXEMPT: Look(
        "neutral",
        "no signature asked",
        "The policy asks for no signature",
        "The policy asks for no signature",
        is_good=True,
    ),
}


def look(verdict: Verdict) -> Look:
    """Return the look of a file."""
    indications = {one.indication for one in verdict.signatures}
    match verdict.outcome:
        case Outcome.GOOD:
            return _VALID_BUT if Indication.VALID_BUT in indications else _VALID
        case Outcome.SIGNATURE_FAILED:
            return _INVALID if Indication.INVALID in indications else _CANNOT_TELL
        case other:
            return _LOOKS[other]


def list_looks() -> tuple[Look, ...]:
    """Return all looks, those that need attention first."""
    problems = (_INVALID, _CANNOT_TELL, _LOOKS[Outcome.QUESTIONABLE], _LOOKS[Outcome.POLICY_NOT_MET])
    apart = (_LOOKS[Outcome.UNREADABLE], _LOOKS[Outcome.NO_SIGNATURE])
    return (*problems, *apart, _VALID_BUT, _VALID, _LOOKS[Outcome.EXEMPT])


def make_segments(counted: Sequence[tuple[str, str, int, str]]) -> tuple[Segment, ...]:
    """Return the segments of a bar for kinds, labels, counts and anchors, without those that count nothing."""
    shown_parts = [part for part in counted if part[2]]
    total = sum(count for _, _, count, _ in shown_parts)
    room = 1000 - _GAP * (len(shown_parts) - 1)
    segments, left = [], 0.0
    for kind, label, count, anchor in shown_parts:
        width = room * count / total
        segments.append(Segment(kind, label, count, round(left, 2), round(width, 2), anchor))
        left += width + _GAP
    return tuple(segments)
