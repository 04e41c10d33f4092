"""Names of certificates (RFC 4514) against those that a policy lists, whose attributes may have any value (`*`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from hsm_dicom.config.policy_sections import ANY_VALUE
from hsm_dicom.trust.certificates import name_key

NameKey = tuple[frozenset[tuple[str, str]], ...]


def matches_any(name: str, wanted: Iterable[str]) -> bool:
    """Return whether a name as RFC 4514 text is one of those wanted.

    Case and runs of spaces are ignored (RFC 5280 7.1). A name that cannot be read matches nothing.
    """
    found = _read(name)
    return found is not None and any(_matches(found, pattern) for pattern in map(_read, wanted) if pattern)


@lru_cache(maxsize=1024)
def _read(text: str) -> NameKey | None:
    try:
        return name_key(x509.Name.from_rfc4514_string(text))
    except ValueError:
        return None


def _matches(found: NameKey, pattern: NameKey) -> bool:
    return len(found) == len(pattern) and all(
        _part_matches(dict(part), dict(wanted)) for part, wanted in zip(found, pattern, strict=True)
    )


def _part_matches(part: dict[str, str], wanted: dict[str, str]) -> bool:
    """Compare one part of a name (RDN), which has mostly one attribute."""
    return part.keys() == wanted.keys() and all(
        value in (ANY_VALUE, part[attribute]) for attribute, value in wanted.items()
    )
