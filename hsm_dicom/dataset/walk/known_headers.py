"""Headers of elements that were decoded before. The files of a series have most of their headers in common.

The walker looks up the 8 octets of a header here before it decodes and checks them. Only headers that need no further
check are kept: those of signable elements in explicit VR little endian with an even 16-bit length. The result depends
on these octets alone, so all threads of the process share the headers. No values are kept.
"""

from __future__ import annotations

from typing import TypeAlias

HEADER = 8
"""Octets of a header with a 16-bit length."""

_KEPT = 4096
"""Maximum number of headers. When it is reached, all are discarded to make room for the headers of the current files.
A series has a few hundred; 4096 headers take less than 2 MiB."""

Known: TypeAlias = tuple[int, str, int, bool]
"""Tag and VR of an element, the size of its header and value in octets, and whether the VR is a string type."""

_known: dict[bytes, Known] = {}

recall = _known.get
"""Return the result of decoding a header, or None if the header is not kept."""


def remember(header: bytes, known: Known) -> None:
    """Keep the result of decoding a header."""
    if len(_known) >= _KEPT:
        _known.clear()
    _known[header] = known
