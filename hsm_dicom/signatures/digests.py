"""Digests of one object, to compare with its signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.octets.hashed import StreamHash
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS, MacAlgorithm
from hsm_dicom.signatures.dcmtk_stream import can_leave_out, feed_as_dcmtk
from hsm_dicom.signatures.mac import feed_covered, feed_own
from hsm_dicom.signatures.read import SignatureItem

if TYPE_CHECKING:
    from hashlib import _Hash

LARGEST_EFFORT = 100
"""Limit on hashed octets, as a multiple of the file's size, to bound the cost of a hostile file."""

LARGEST_EFFORT_FOR_DCMTK = 4
"""The same limit for the streams of dcmsign, which are built element by element."""

_Key = tuple[ItemPath, tuple[int, ...], str]


class _EffortLimitError(Exception):
    """The signatures of the object exceed the limit on hashed octets; the text explains it."""


@dataclass(frozen=True)
class CutDigest:
    """Digest over a stream that lacks `left_out` octets."""

    digest: bytes
    left_out: int


class Digests:
    """MACs of several signatures; each covered part is read once for any number of signatures and hashes."""

    def __init__(self, file: DicomFile, items: Iterable[SignatureItem]) -> None:
        self._file = file
        self._wanted: dict[tuple[ItemPath, tuple[int, ...]], set[str]] = {}
        self._begun: dict[_Key, _Hash] = {}
        self._begun_as_dcmtk: dict[_Key, tuple[_Hash, int]] = {}
        self._sizes: dict[tuple[ItemPath, tuple[int, ...]], int] = {}
        self._allowed = LARGEST_EFFORT * file.source.size
        self._allowed_for_dcmtk = LARGEST_EFFORT_FOR_DCMTK * file.source.size
        for item in items:
            if item.mac is not None and not item.historic:
                self._wanted.setdefault((item.level.path, item.mac.tags), set()).add(item.mac.algorithm)

    def digest(self, item: SignatureItem, algorithm: MacAlgorithm) -> bytes:
        """Return the digest of PS3.3 C.12.1.1.3.1.2. Raises _EffortLimitError."""
        place, tags = self._read_covered(item)
        if (place, tags, algorithm.term) not in self._begun:
            if self._allowed < 0:
                raise _EffortLimitError(
                    f"The object's signatures cover more than {LARGEST_EFFORT} times its size; no more were checked."
                )
            hashes, update = self._hashes(place, tags)
            feed = partial(feed_covered, self._file, item.level, set(tags))
            if len(hashes) == 1:
                ((term, state),) = hashes.items()
                stream = StreamHash(state)
                size = stream.begin(self._file.source, feed)
                hashes = {term: stream.copy()}
            else:
                size = feed(update)
            self._sizes[place, tags] = size
            self._allowed -= size
            for term, state in hashes.items():
                self._begun[place, tags, term] = state
        state = self._begun[place, tags, algorithm.term].copy()
        feed_own(self._file, item.item, state.update)
        return state.digest()

    def digest_of_dcmtk(self, item: SignatureItem, algorithm: MacAlgorithm) -> CutDigest | None:
        """Return the digest over DCMTK dcmsign's stream; None if it omits nothing, or if the limit is exceeded.

        Call `digest` first.
        """
        place, tags = self._read_covered(item)
        if not can_leave_out(item.level, set(tags), self._sizes[place, tags]):
            return None
        if (place, tags, algorithm.term) not in self._begun_as_dcmtk:
            if self._allowed_for_dcmtk < 0:
                return None
            hashes, update = self._hashes(place, tags)
            left_out = feed_as_dcmtk(self._file, item.level, set(tags), update)
            self._allowed_for_dcmtk -= self._sizes[place, tags]
            for term, state in hashes.items():
                self._begun_as_dcmtk[place, tags, term] = state, left_out
        begun, left_out = self._begun_as_dcmtk[place, tags, algorithm.term]
        if not left_out:
            return None
        state = begun.copy()
        feed_own(self._file, item.item, state.update)
        return CutDigest(state.digest(), left_out)

    def _read_covered(self, item: SignatureItem) -> tuple[ItemPath, tuple[int, ...]]:
        return item.level.path, item.mac.tags if item.mac else ()

    def _hashes(
        self, place: ItemPath, tags: tuple[int, ...]
    ) -> tuple[dict[str, _Hash], Callable[[bytes | memoryview], object]]:
        """Return a hash for each algorithm of the signatures over these tags, and a callable that feeds all of them."""
        algorithms = (MAC_ALGORITHMS[term] for term in self._wanted[place, tags] if term in MAC_ALGORITHMS)
        hashes = {algorithm.term: algorithm.new() for algorithm in algorithms if algorithm.is_offered}
        updates = [state.update for state in hashes.values()]

        def update(data: bytes | memoryview) -> None:
            for one in updates:
                one(data)

        return hashes, updates[0] if len(updates) == 1 else update
