"""One row of the inventory, and all of them, the most urgent first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOT_CONFIGURED = "present, not configured"
"""The state of a card in a reader that no table names."""


class Kind(StrEnum):
    """What a row is about."""

    CONFIGURATION = "configuration"
    TOKEN = "token"  # noqa: S105  a kind of device
    CARD = "card"
    KEY = "key"
    SECRET_KEY = "secret-key"  # noqa: S105  a kind of object
    CERTIFICATE = "certificate"
    IDENTITY = "identity"
    CHAIN = "chain"
    ANCHOR = "anchor"
    INTERMEDIATE = "intermediate"
    TIMESTAMP_ANCHOR = "timestamp-anchor"
    CRL = "crl"
    PEER = "peer"
    EXCEPTION = "exception"


class Urgency(StrEnum):
    """How soon a person has to act."""

    PROBLEM = "problem"
    """Now: it has ended, is away, or cannot be read."""
    SOON = "soon"
    """It ends within the warning period."""
    FINE = "fine"
    """Nothing to do."""


class Origin(StrEnum):
    """Where a key was made, as its device reports it."""

    HERE = "made on the device"
    IMPORTED = "imported"
    UNKNOWN = "not stated"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row.

    `holder` is the token, card or file that holds it, and `uses` are the tables of the configuration that need it.
    `size` is empty, or such as "RSA 3072"; `origin` is empty unless it is a key. `ends` is None if it has no end or
    the end is not known. `consequence` is what fails when it ends, `problem` what is wrong now, and `remedy` what to
    do. `state` is that of a certificate beside the others of its key, `NOT_CONFIGURED` for a card that no table names,
    or empty. `fingerprint` is the SHA-256 of a certificate's DER encoding, or empty.
    """

    kind: Kind
    name: str
    holder: str = ""
    subject: str = ""
    uses: tuple[str, ...] = ()
    size: str = ""
    origin: str = ""
    begins: datetime | None = None
    ends: datetime | None = None
    days_left: int | None = None
    urgency: Urgency = Urgency.FINE
    consequence: str = ""
    problem: str = ""
    remedy: str = ""
    state: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All rows, the most urgent first. `not_logged_in` are the tokens of which only public objects were read."""

    file: Path
    taken: datetime
    warning: timedelta
    entries: tuple[Entry, ...]
    not_logged_in: tuple[str, ...] = ()

    @property
    def needs_attention(self) -> bool:
        """Whether a row is a problem, or ends within the warning period."""
        return any(entry.urgency is not Urgency.FINE for entry in self.entries)


def sort_entries(entries: list[Entry]) -> tuple[Entry, ...]:
    """Return the rows, problems first, then by their end; those without an end last, in the order given."""
    ranks = list(Urgency)

    def rank(entry: Entry) -> tuple[int, bool, float]:
        return ranks.index(entry.urgency), entry.ends is None, entry.ends.timestamp() if entry.ends else 0.0

    return tuple(sorted(dict.fromkeys(entries), key=rank))


def assess_span(
    begins: datetime | None, ends: datetime, now: datetime, warning: timedelta, *, is_crl: bool = False
) -> tuple[Urgency, str]:
    """Return the urgency of something with an end, and what is wrong with it now, or an empty text.

    A CRL, which is often valid for a week, ends soon only in the last quarter of its validity.
    """
    if now > ends:
        return Urgency.PROBLEM, f"It ended on {ends:%Y-%m-%d}."
    if begins is not None and now < begins:
        return Urgency.PROBLEM, f"It is not valid before {begins:%Y-%m-%d}."
    period = min(warning, (ends - begins) / 4) if is_crl and begins is not None else warning
    return (Urgency.SOON, "") if ends - now <= period else (Urgency.FINE, "")


def count_days(ends: datetime, now: datetime) -> int:
    """Return the whole days that are left; negative after the end."""
    return (ends - now) // timedelta(days=1)


def format_public_key(key: object) -> str:
    """Return kind and size of a public key, such as "RSA 3072" or "P-256"."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return format_kind(key.curve.name, key.key_size)
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def format_kind(key_type: str, bits: int) -> str:
    """Return kind and size of a key as its token reports them; empty if it reports neither."""
    curves = {"secp256r1": "P-256", "secp384r1": "P-384"}
    return curves.get(key_type, f"{key_type} {bits or ''}".strip())


def format_size(certificate: x509.Certificate) -> str:
    """Return kind and size of a certificate's key; empty if it cannot be read."""
    try:
        return format_public_key(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):  # a key that is broken, or of another kind
        return ""
