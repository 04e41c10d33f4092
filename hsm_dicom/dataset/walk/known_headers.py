"""Headers of elements that were decoded before: the files of a series have most of theirs in common.

The walker looks the 8 octets of a header up here before it decodes and checks them. Known are only those that need no
further look: of a signable element in explicit VR little endian with a 16-bit length, which is even. What is known
about them depends on these octets alone, so that one collection serves the whole process. It holds no values.
"""

from __future__ import annotations

from typing import TypeAlias

HEADER = 8
"""Octets of a header with a 16-bit length."""

_KEPT = 4096
"""Maximum number of headers. All are dropped when there are more, so that those of the files at hand come to be known.
A series has a few hundred; 4096 take less than 2 MiB."""

Known: TypeAlias = tuple[int, str, int, bool]
"""Tag and VR of an element, octets of its header and value together, and whether its VR is one of the strings."""

_known: dict[bytes, Known] = {}

recall = _known.get
"""Return what is known about a header, or None."""


def remember(header: bytes, known: Known) -> None:
    """Keep what was found out about a header."""
    if len(_known) >= _KEPT:
        _known.clear()
    _known[header] = known
