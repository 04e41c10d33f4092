"""Numbers, times and states in words, alike on the status page and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from hsm_dicom.gateway.status import CertificateStatus, ClockStatus, TokenStatus

SOON_DAYS = 30
"""Days before its end at which a certificate needs attention."""

SOON_CRL_DAYS = 1
"""The same for a CRL: its issuer replaces it every few days."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")

_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))

_CERTIFICATE_KINDS = {
    "identity": "certificate",
    "chain": "certificate of its chain",
    "anchor": "trust anchor",
    "timestamp-anchor": "time stamp anchor",
    "intermediate": "intermediate certificate",
    "crl": "CRL",
}


def format_count(number: int) -> str:
    """Format a number with separators between thousands."""
    return f"{number:,}"


def format_bytes(number: int) -> str:
    """Format a number of bytes with a binary prefix and three digits: "1.25 GiB"."""
    value, unit = float(number), 0
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """Format a short duration: "2.4 ms", "1.50 s"."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def format_time(time: datetime) -> str:
    """Format a time in UTC: "2030-01-31 23:59 UTC"."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def describe_span(seconds: float) -> str:
    """Describe a span of time in its largest unit: "3 minutes"; less than nothing counts as nothing."""
    for length, name in _SPANS:
        count = int(seconds // length)
        if count >= 1:
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    return "0 seconds"


def describe_end(ends: datetime, now: datetime) -> str:
    """Describe when something ends: "12 days left", or "ended 2 days ago"."""
    seconds = (ends - now).total_seconds()
    return f"{describe_span(seconds)} left" if seconds > 0 else f"ended {describe_span(-seconds)} ago"


def describe_counts(counts: Mapping[str, int]) -> str:
    """Describe counts with their names: "address 8, calling 4", the largest first."""
    found = sorted(((count, name) for name, count in counts.items() if count), key=lambda one: (-one[0], one[1]))
    return ", ".join(f"{name} {format_count(count)}" for count, name in found)


def describe_objects(objects: str) -> str:
    """Describe what a route does with objects."""
    return {
        "pass": "objects pass",
        "inspect": "objects inspected",
        "verify": "objects verified",
        "sign": "objects signed",
        "verify-and-sign": "objects verified and signed",
    }.get(objects, f"objects: {objects}")


def describe_held(outcome: str) -> str:
    """Return what became of an object as the title of a tile, such as "Signed before"."""
    return outcome.replace("-", " ").capitalize()


def describe_certificate_kind(kind: str) -> str:
    """Describe what a certificate or a CRL is for."""
    return _CERTIFICATE_KINDS.get(kind, kind)


def certificate_look(certificate: CertificateStatus, now: datetime) -> str:
    """Return "bad" for one that ended, "question" for one that ends soon, else "good"."""
    days = (certificate.ends - now).total_seconds() / 86_400
    soon = SOON_CRL_DAYS if certificate.kind == "crl" else SOON_DAYS
    return "bad" if days <= 0 else "question" if days <= soon else "good"


def describe_token(token: TokenStatus) -> tuple[str, str]:
    """Return the look and the state of a token."""
    if not token.logged_in:
        return "bad", "not logged in"
    if token.breaker == "half-open":
        return "question", "logged in, being probed"
    if token.breaker not in ("", "closed"):
        return "bad", f"logged in, {'not used' if token.breaker == 'open' else token.breaker}"
    return "good", "logged in"


def describe_clock(clock: ClockStatus) -> str:
    """Describe the system clock: "synchronised", and what is wrong with it."""
    states = {True: "synchronised", False: "not synchronised", None: "not known to be synchronised"}
    parts = [states[clock.is_synchronised]]
    if clock.stepped_at is not None:
        direction = "forward" if clock.stepped_seconds > 0 else "back"
        span = describe_span(abs(clock.stepped_seconds))
        parts.append(f"set {direction} by {span} at {format_time(clock.stepped_at)}")
    if clock.behind_seconds > 0:
        parts.append(f"{describe_span(clock.behind_seconds)} behind a time that it has shown before")
    return ", ".join(parts)


def is_clock_right(clock: ClockStatus) -> bool:
    """Return whether nothing is wrong with the clock, as far as is known."""
    return clock.is_synchronised is not False and clock.stepped_at is None and clock.behind_seconds <= 0
