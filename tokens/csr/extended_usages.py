"""Extended key usages (RFC 5280, 4.2.1.12) by name or object identifier."""

from __future__ import annotations

import difflib
import re

from cryptography.x509.oid import ObjectIdentifier

from tokens.errors import CeremonyError
from tokens.printable import printable

_NAMES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "microsoftDocumentSigning": "1.3.6.1.4.1.311.10.3.12",
    "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "anyExtendedKeyUsage": "2.5.29.37.0",
}
_BY_NAME = {name.lower(): name for name in _NAMES}
_BY_OID = {dotted: name for name, dotted in _NAMES.items()}
_KEY_USAGES = frozenset(
    word.lower()
    for word in (
        "digitalSignature",
        "nonRepudiation",
        "contentCommitment",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
    )
)


def parse_extended_usage(text: str) -> ObjectIdentifier:
    """Read an extended key usage: a name, whatever its capitals and hyphens, or a dotted object identifier.

    Raises `CeremonyError`.
    """
    shown, plain = printable(text), re.sub(r"[\s_-]", "", text).lower()
    if plain in _BY_NAME:
        return ObjectIdentifier(_NAMES[_BY_NAME[plain]])
    if re.fullmatch(r"[\d.]+", plain):
        try:
            return ObjectIdentifier(plain)
        except ValueError:
            raise CeremonyError(
                f"'{shown}' is no object identifier.", remedy="Write it like 1.3.6.1.5.5.7.3.2."
            ) from None
    if plain in _KEY_USAGES:
        raise CeremonyError(
            f"'{shown}' is a key usage, not an extended one.",
            remedy="The key usage follows from what the key is for; leave it out here.",
        )
    if "," in text:
        raise CeremonyError(f"'{shown}' has a comma.", remedy="Give each extended key usage by itself.")
    close = difflib.get_close_matches(plain, _BY_NAME, n=1)
    meant = f"Did you mean {_BY_NAME[close[0]]}? " if close else ""
    raise CeremonyError(
        f"'{shown}' is no known extended key usage.",
        remedy=f"{meant}Use one of {', '.join(_NAMES)}, or an object identifier such as 1.3.6.1.5.5.7.3.2.",
    )


def format_extended_usage(oid: ObjectIdentifier) -> str:
    """Return the name of an extended key usage, or its dotted object identifier."""
    return _BY_OID.get(oid.dotted_string, oid.dotted_string)
