"""A hash over a stream that may go on from where another hash of the same stream has come to.

Octets that were hashed while they arrived need not be hashed again when all of them are there. If what ``StreamHash``
has taken so far has the digest that a ``HashedSpan`` states, and the same span of the file follows, it goes on behind
what of the span is hashed. Otherwise it reads the span, as if nothing had been hashed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_dicom.dataset.octets.source import Source

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True)
class HashedSpan:
    """The bytes ``[start, end)`` of a file, hashed as they are, behind a stream whose digest is ``before``."""

    start: int
    end: int
    before: bytes
    state: _Hash = field(repr=False)


class StreamHash:
    """The hash of one stream, which begins with octets of a source."""

    def __init__(self, state: _Hash) -> None:
        self._state = state
        self._spans: list[HashedSpan] = []

    def begin(self, source: Source, feed: Callable[[Callable[[bytes | memoryview], None]], int]) -> int:
        """Have ``feed`` give the octets of the source to the function that it is called with, and return its result."""
        self._spans = [span for span in source.hashed if span.state.name == self._state.name]
        source.skip = self._skip
        try:
            return feed(self.update)
        finally:
            source.skip = None

    def update(self, data: bytes | memoryview) -> None:
        """Take the next octets."""
        self._state.update(data)

    def copy(self) -> _Hash:
        """Return the hash of what was taken so far, to go on from there."""
        return self._state.copy()

    def digest(self) -> bytes:
        """Return the digest of what was taken so far."""
        return self._state.digest()

    def _skip(self, start: int, end: int) -> int:
        for span in self._spans:
            if span.start == start and span.end <= end and span.before == self._state.digest():
                self._state = span.state.copy()
                return span.end
        return start
