"""The exception by which a security officer enables a retired profile: profile, reason and last day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hsm_dicom.tls.errors import LegacyRefusedError
from hsm_dicom.trust.clock import current_date

DH_SIZES = (1024, 2048, 3072, 4096)
"""Sizes of the Diffie-Hellman groups that retired profiles may use, in bits. 512 (export grade) is not among them."""


@dataclass(frozen=True, kw_only=True)
class LegacyExemption:
    """An exception that enables a retired profile; there is no other way. ("Exemption", since Python has exceptions.)

    `profile` is a name of `hsm_dicom.tls.legacy.PROFILES`, `until` the last day on which the exception holds. `dh_bits`
    is for profiles with Diffie-Hellman: the size of our group as a server, and the smallest that we accept as a client.
    """

    profile: str
    reason: str
    until: date
    dh_bits: int = 2048

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise LegacyRefusedError(
                f"The profile '{self.profile}' is retired, and the exception gives no reason.", remedy="Set reason."
            )
        if self.dh_bits not in DH_SIZES:
            raise LegacyRefusedError(
                f"A Diffie-Hellman group of {self.dh_bits} bits is not available.",
                remedy=f"Set dh_bits to one of: {', '.join(map(str, DH_SIZES))}.",
            )

    def require_valid(self, today: date) -> None:
        """Raise `LegacyRefusedError` if the exception has ended."""
        if today > self.until:
            raise LegacyRefusedError(
                f"The exception for the retired profile '{self.profile}' ended on {self.until:%Y-%m-%d} "
                f"(its reason was: {self.reason}).",
                remedy="Replace the machine, or set another end date (until).",
            )


def today() -> date:
    """Return the date in UTC, by which exceptions end."""
    return current_date()
