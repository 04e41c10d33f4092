"""Serial numbers of certificates, as officers type them and as `key list` shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from hsm_dicom.errors import DicomError


def explain_no_single_certificate(
    name: str, stored: Sequence[Certificate], chosen: Sequence[Certificate], serial: str | None
) -> DicomError:
    """Say which certificates a key has, if the serial number selects none or several of them."""
    from hsm_dicom.identity import IdentityError, find_states

    if not stored:
        return IdentityError(f"Key {name} has no certificate on the token.")
    listed = ", ".join(
        f"{one.serial_number:x} (of '{one.subject.rfc4514_string()}', "
        f"until {one.not_valid_after_utc:%Y-%m-%d}, {state})"
        for one, state in find_states(stored).items()
    )
    if chosen:
        return IdentityError(f"Key {name} has {len(chosen)} certificates; name one with --serial: {listed}.")
    return IdentityError(f"Key {name} has no certificate with serial number {serial}; it has: {listed}.")


def parse_serial(text: str | None) -> int | None:
    """Read a hexadecimal serial number, with or without colons. Raises `typer.BadParameter`."""
    if text is None:
        return None
    try:
        return int(text.replace(":", ""), 16)
    except ValueError:
        raise typer.BadParameter(
            "The serial number must be hexadecimal, such as 1f2e.", param_hint="--serial"
        ) from None


def format_serial(text: str) -> str:
    """Return a serial number as key list shows it; OpenSSL prints capitals, colons and a leading zero."""
    return re.sub(r"^0+(?=.)", "", text.replace(":", "").lower())
