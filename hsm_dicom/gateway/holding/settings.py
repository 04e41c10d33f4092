"""What a route does with the objects that it holds: frozen data, filled from the configuration or by a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from hsm_dicom.network.errors import Mistake, raise_mistakes
from hsm_dicom.network.settings import Quarantine
from hsm_dicom.trust.clock import current_date


class AlreadySigned(StrEnum):
    """What a route that signs does with an object that has signatures."""

    ADD = "add"
    """Add a signature, if every existing one holds; refuse the object otherwise."""
    PASS = "pass"  # noqa: S105
    """Relay it as it is."""
    REFUSE = "refuse"
    """Refuse it."""


class OnConflict(StrEnum):
    """What a route does with an object whose SOP Instance UID it knows with other octets."""

    REFUSE = "refuse"
    FORWARD = "forward"
    """Sign it, and report it."""


@dataclass(frozen=True, kw_only=True)
class Unsigned:
    """An exception: objects pass unsigned while the key cannot be used, until the end of a day."""

    until: date
    reason: str

    @property
    def is_valid(self) -> bool:
        """Whether it holds today (UTC), also if the system clock was set back."""
        return current_date() <= self.until


@dataclass(frozen=True, kw_only=True)
class SigningSettings:
    """How a route signs (PS3.15, Annex C). `identity` names the signer; `profile` and `mac` are those of `sign`.

    Without `profile`, it is "base", and "none" for an EC key, which no profile of PS3.15 admits.
    """

    identity: str
    profile: str | None = None
    mac: str = "sha256"
    purpose: int | None = None
    already_signed: AlreadySigned = AlreadySigned.ADD
    on_conflict: OnConflict = OnConflict.REFUSE
    unsigned: Unsigned | None = None
    keep_hours: float = 24.0


@dataclass(frozen=True, kw_only=True)
class HoldingSettings:
    """Where a route holds objects, and for what: `policy` to judge them, `signing` to sign them, or both.

    Each object is a file in `folder` for as long as it is held, of `largest_object_mib` at the most (1048576 bytes
    each); `minimum_free_mib` of the file system stay free. Objects that do not meet `policy` are refused, or kept in
    `quarantine`. For the times, in seconds, see `hsm_dicom.gateway.hold.HoldTimes`.
    """

    folder: Path
    policy: str | None = None
    quarantine: Quarantine | None = None
    signing: SigningSettings | None = None
    largest_object_mib: int = 4096
    minimum_free_mib: int = 1024
    answer_seconds: float = 60.0
    far_idle_seconds: float = 300.0

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        if self.policy is None and self.signing is None:
            what = "The route holds objects, and neither judges nor signs them."
            yield Mistake("objects", what, "Name a policy or an identity.")
        if self.quarantine is not None and self.policy is None:
            what = "quarantine is without effect, because the route has no policy."
            yield Mistake("quarantine", what, 'Write policy = "NAME", or remove quarantine.')
