"""What a security officer writes down to open a retired profile: for whom, why, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hsm_dicom.tls.errors import LegacyRefused


@dataclass(frozen=True, kw_only=True)
class LegacyOpening:
    """The one way to switch on a retired profile with RSA key exchange.

    `profile` is a name of `hsm_dicom.tls.legacy.PROFILES`, `until` the last day on which the opening holds.
    """

    profile: str
    reason: str
    until: date

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise LegacyRefused(
                f"The profile '{self.profile}' is retired, and nothing says why it is needed; write a reason."
            )

    def demand_open(self, today: date) -> None:
        """Raises `LegacyRefused` once the opening has ended."""
        if today > self.until:
            raise LegacyRefused(
                f"The opening of the retired profile '{self.profile}' ended on {self.until:%Y-%m-%d} "
                f"(its reason was: {self.reason}). Replace the machine, or set another end date."
            )
