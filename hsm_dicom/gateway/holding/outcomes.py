"""What becomes of an object that a route held, in one word."""

from __future__ import annotations

from enum import StrEnum


class HeldOutcome(StrEnum):
    """What became of one object. Those of `TROUBLES` need a person."""

    SIGNED = "signed"
    SIGNED_BEFORE = "signed-before"
    """The same octets came before: they go on with the same signature."""
    ANSWERED_BEFORE = "answered-before"
    """Likewise, and the target has answered already when the caller had left: the caller gets that status."""
    VERIFIED = "verified"
    """It meets the policy, and goes on as it came."""
    PASSED = "passed"
    """It has signatures, and goes on as it came: the route has made one of them, or `already_signed` is "pass"."""
    UNSIGNED = "unsigned"
    """It goes on unsigned, because the key cannot be used and the route has an exception."""
    UNMET = "unmet"
    """Refused: it does not meet the policy."""
    QUARANTINED = "quarantined"
    MALFORMED = "malformed"
    """Refused: it is not the instance that its request says, or cannot be read."""
    TOO_LARGE = "too-large"
    NOT_SIGNABLE = "not-signable"
    """Refused: it cannot be signed as the route requires."""
    ALREADY_SIGNED = "already-signed"
    """Refused: it has signatures, of which one does not hold, or the route wants none."""
    CONFLICT = "conflict"
    """Another object with this SOP Instance UID was signed."""
    NO_KEY = "no-key"
    """Refused for now: the key cannot be used."""
    NO_ROOM = "no-room"
    """Refused for now: the folder cannot be written to, or too little space is free."""


TROUBLES = frozenset(HeldOutcome) - {
    HeldOutcome.SIGNED,
    HeldOutcome.SIGNED_BEFORE,
    HeldOutcome.ANSWERED_BEFORE,
    HeldOutcome.VERIFIED,
    HeldOutcome.PASSED,
}
