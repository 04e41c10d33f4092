"""Serial numbers of certificates, as officers type them and as `key list` shows them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from hsm_dicom.errors import DicomError
    from hsm_dicom.identity import CertificateState


def explain_no_single_certificate(
    name: str, stored: Sequence[Certificate], chosen: Sequence[Certificate], serial: str | None
) -> DicomError:
    """Say which certificates a key has, if the serial number selects none or several of them."""
    from hsm_dicom.identity import IdentityError, find_states

    if not stored:
        return IdentityError(f"Key {name} has no certificate on the token.")
    listed = ", ".join(
        f"{one.serial_number:x} (of '{one.subject.rfc4514_string()}', "
        f"until {one.not_valid_after_utc:%Y-%m-%d}, {_describe_state(one, state)})"
        for one, state in find_states(stored).items()
    )
    if chosen:
        return IdentityError(f"Key {name} has {len(chosen)} certificates; name one with --serial: {listed}.")
    return IdentityError(f"Key {name} has no certificate with serial number {serial}; it has: {listed}.")


def _describe_state(certificate: Certificate, state: CertificateState) -> str:
    """Return the state of a certificate as key list shows it."""
    return f"valid from {certificate.not_valid_before_utc:%Y-%m-%d}" if state == "later" else str(state)


@dataclass(frozen=True)
class Shadowed:
    """Why a certificate that was stored is not used, and the command that changes that."""

    text: str
    command: str


def explain_not_in_use(stored: Certificate, all_of_key: Sequence[Certificate], key: str) -> Shadowed | None:
    """Say which certificate of a key is used instead of one that was just stored; None if it is used now or later.

    A CA that issues shorter certificates than before returns one that ends before its predecessor.
    """
    from hsm_dicom.identity import CertificateState, choose_certificate, find_states

    if find_states(all_of_key).get(stored) is not CertificateState.OLD:
        return None
    used = choose_certificate(all_of_key)
    number = f"{used.serial_number:x}"
    return Shadowed(
        f"It is not in use: the key has a certificate that is valid longer, until {used.not_valid_after_utc:%Y-%m-%d} "
        f"(serial {number}). To use the new one, delete the other:",
        f"hsm-dicom key delete-cert {shlex.quote(key)} --serial {number}",
    )


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
