"""MACs of an object whose octets are still arriving in a file: what of them can be hashed is hashed as it comes.

A MAC takes the elements in the order of the file. So when the first octets of a long value are there, such as those of
native Pixel Data, all that precedes it in the MAC is there too, and from then on the hash follows the octets. When the
object is whole, it is read and judged as any other one, and its MACs are computed as always; only what is hashed
already is not read again. That it is the same stream is not assumed: see `StreamHash`.

Hashed as they come are values of a defined length that a MAC takes as they are. An object with encapsulated Pixel Data,
one in big endian and a deflated one are hashed when they are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError, OverrunError
from hsm_dicom.dataset.octets.hashed import HashedSpan, StreamHash
from hsm_dicom.dataset.octets.source import CHUNK, Content
from hsm_dicom.dataset.tags import ITEM
from hsm_dicom.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS, MacAlgorithm
from hsm_dicom.signatures.mac import feed_covered
from hsm_dicom.signatures.read import read_mac_parameters

if TYPE_CHECKING:
    from hashlib import _Hash

LOOKS = (4 << 20, 16 << 20, 64 << 20)
"""When so many bytes have come, look whether a long value has begun. Fewer are hashed in a few milliseconds."""

_SYNTAXES = frozenset((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))

_MOST_MACS = 4
"""How many MACs are hashed at the same time; an object may state more than anybody needs."""


@dataclass(frozen=True)
class MacChoice:
    """A MAC that will be needed: its algorithm, and the tags of the main Data Set that it covers."""

    algorithm: MacAlgorithm
    tags: Set[int]


@dataclass
class _Follower:
    """A hash that follows the octets of one value, up to the offset `stop`."""

    start: int
    stop: int
    before: bytes
    state: _Hash = field(repr=False)


class ArrivingMacs:
    """The MACs of one object in a Transfer Syntax. `choose` says which, when all but its long value is there."""

    def __init__(self, name: str, transfer_syntax_uid: str, choose: Callable[[DicomFile], Iterable[MacChoice]]) -> None:
        self._name, self._choose = name, choose
        self._looks = list(LOOKS) if transfer_syntax_uid in _SYNTAXES else []
        self._followers: list[_Follower] = []
        self._at = 0

    def wants_to_look(self, there: int) -> bool:
        """Whether `look` is to be called, now that so many bytes are in the file."""
        return bool(self._looks) and there >= self._looks[0]

    def look(self, fd: int, there: int) -> None:
        """Look for a long value in a file of which so many bytes are there, and hash what of it is there.

        Raises nothing: an object that cannot be read is refused when it is whole.
        """
        self._looks = [look for look in self._looks if look > there]
        try:
            with DicomFile.open(Content(self._name, fd=fd)):
                return  # it may end here
        except OverrunError as overrun:
            if overrun.tag == ITEM:
                return
            stop = overrun.stop
        except DicomFileError:
            return
        try:
            with DicomFile.open(Content(self._name, fd=fd, size=stop)) as file:
                choices = tuple(islice(self._choose(file), _MOST_MACS))
                self._followers = [one for choice in choices if (one := _follow(file, choice, there)) is not None]
        except DicomFileError:
            return
        self._looks, self._at = [], there

    def take(self, data: memoryview) -> None:
        """Take the octets that come next."""
        at, self._at = self._at, self._at + len(data)
        for one in self._followers:
            if at < one.stop:
                one.state.update(data[: one.stop - at])

    @property
    def spans(self) -> tuple[HashedSpan, ...]:
        """What is hashed, for `Content`."""
        return tuple(HashedSpan(one.start, min(self._at, one.stop), one.before, one.state) for one in self._followers)


def choose_signable(algorithm: MacAlgorithm, file: DicomFile) -> MacChoice:
    """Return the MAC of a signature over all that can be signed."""
    return MacChoice(algorithm, file.main.signable_tags)


def choose_stated(file: DicomFile) -> Iterable[MacChoice]:
    """Return the MACs of the signatures of the main Data Set, by their MAC Parameters, which precede Pixel Data."""
    for stated in read_mac_parameters(file, file.main):
        algorithm = MAC_ALGORITHMS.get(stated.algorithm)
        if algorithm is not None and algorithm.is_offered:
            yield MacChoice(algorithm, frozenset(stated.tags))


def _follow(file: DicomFile, choice: MacChoice, there: int) -> _Follower | None:
    """Hash what a MAC takes of the bytes that are there; None if it takes no long value that is not there as a whole.

    Raises `DicomFileError` if the MAC takes something else that is not there.
    """
    stream = StreamHash(choice.algorithm.new())
    reached: list[_Follower] = []

    def follow_what_is_missing(start: int, end: int) -> int:
        if end <= there:
            return start
        state = stream.copy()
        for at in range(start, there, CHUNK):
            state.update(file.source.read(at, min(there, at + CHUNK)))
        reached.append(_Follower(start, end, stream.digest(), state))
        return end

    file.source.skip = follow_what_is_missing
    feed_covered(file, file.main, choice.tags, stream.update)
    file.source.skip = None
    return reached[0] if reached else None
