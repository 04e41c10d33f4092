"""MAC byte streams read backwards: every Data Set that has the same stream (PS3.3 C.12.1.1.3.1.2).

The stream has no lengths of sequences, Items and fragments, and nothing between the covered elements and those of the
signature's own Item. A *reading* of a stream says where each of these ends. An honest stream has one for each way in
which tags of Items and delimiters, wherever they stand, can be taken for structure.

Nothing here is shared with hsm_dicom but the table of VRs; encodings are explicit VR little endian with sequences and
Items of undefined length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from struct import pack, unpack_from

from hsm_dicom.dataset.vr import FORMS, SEQUENCE, SHORT, UNKNOWN
from tests.hsm_dicom.dataset.frames import DELIMITER, ITEM

PIXEL_DATA = 0x7FE00010
MAC_PARAMETERS, SIGNATURES = 0x4FFE0001, 0xFFFAFFFA
UNDEFINED = b"\xff\xff\xff\xff"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = DELIMITER + bytes(4)
_NOT_IN_A_STREAM = (0x00080001, MAC_PARAMETERS, 0xFFFCFFFC)

Encoded = tuple[tuple[int, bytes], ...]
"""Elements of one level: tag and encoding of each."""


@dataclass(frozen=True)
class Reading:
    """One way to read a stream: the covered elements, and those of the signature's Item that are in the MAC."""

    covered: Encoded
    own: Encoded


def readings(stream: bytes) -> Iterator[Reading]:
    """Every reading of the stream whose own Item is not empty, in no particular order."""
    for covered, end in _prefixes(stream, 0, -1):
        for own, last in _prefixes(stream, end, -1):
            if own and last == len(stream):
                for encodings in _choices([node for _, node in (*covered, *own)]):
                    pairs = tuple(zip([tag for tag, _ in (*covered, *own)], encodings, strict=True))
                    yield Reading(pairs[: len(covered)], pairs[len(covered) :])


def encode_tag(tag: int) -> bytes:
    """A tag in little endian."""
    return pack("<HH", tag >> 16, tag & 0xFFFF)


def encode_sequence(tag: int, *items: bytes) -> bytes:
    """A sequence of undefined length with Items of undefined length."""
    content = b"".join(ITEM + UNDEFINED + content + ITEM_END for content in items)
    return encode_tag(tag) + b"SQ\0\0" + UNDEFINED + content + SEQUENCE_END


def encode_fragments(*fragments: bytes) -> bytes:
    """Encapsulated Pixel Data; the first fragment is the Basic Offset Table."""
    content = b"".join(ITEM + pack("<I", len(fragment)) + fragment for fragment in fragments)
    return encode_tag(PIXEL_DATA) + b"OB\0\0" + UNDEFINED + content + SEQUENCE_END


Node = Callable[[], Iterator[bytes]]
"""Every encoding of an element, or of an Item's content, that ends at the same place of the stream."""


def _choices(nodes: Sequence[Node]) -> Iterator[tuple[bytes, ...]]:
    """Every choice of one encoding for each node."""
    if not nodes:
        yield ()
        return
    for first in nodes[0]():
        for others in _choices(nodes[1:]):
            yield (first, *others)


def _prefixes(s: bytes, at: int, last: int) -> Iterator[tuple[tuple[tuple[int, Node], ...], int]]:
    """Every run of elements with ascending tags that begins here, the empty one too, and where it ends."""
    yield (), at
    for tag, node, end in _elements(s, at, last):
        for more, stop in _prefixes(s, end, tag):
            yield ((tag, node), *more), stop


def _elements(s: bytes, at: int, last: int) -> Iterator[tuple[int, Node, int]]:
    """Every way to read one element here: its tag, its encodings, and where it ends."""
    if len(s) - at < 8:
        return
    group, number = unpack_from("<HH", s, at)
    tag, vr = group << 16 | number, s[at + 4 : at + 6].decode("latin-1")
    form = FORMS.get(vr, UNKNOWN)
    if form == UNKNOWN or tag <= last or _is_never_signed(tag):
        return
    if form == SHORT:
        end = at + 8 + int.from_bytes(s[at + 6 : at + 8], "little")
        if end <= len(s) and not end - at & 1:
            yield tag, lambda: iter((s[at:end],)), end
        return
    if s[at + 6 : at + 8] != b"\0\0":
        return
    if form == SEQUENCE:
        for items, stop in _items(s, at + 8):
            yield tag, partial(_sequences, tag, items), stop
        return
    if tag == PIXEL_DATA and vr == "OB" and s[at + 8 : at + 12] == ITEM:
        for stop in range(at + 12, len(s) - 3, 2):
            if s[stop : stop + 4] == DELIMITER:
                yield tag, partial(_encapsulated, s[at + 12 : stop]), stop + 4
    end = at + 12 + int.from_bytes(s[at + 8 : at + 12], "little")
    if end <= len(s) and not end - at & 1:
        yield tag, lambda: iter((s[at:end],)), end


def _sequences(tag: int, items: tuple[Node, ...]) -> Iterator[bytes]:
    return (encode_sequence(tag, *contents) for contents in _choices(items))


def _encapsulated(content: bytes) -> Iterator[bytes]:
    return (encode_fragments(*fragments) for fragments in _cuts(content))


def _cuts(content: bytes) -> Iterator[tuple[bytes, ...]]:
    """Every way to cut octets into fragments of even length, at tags of Items."""
    for end in range(0, len(content) - 3, 2):
        if content[end : end + 4] == ITEM:
            for more in _cuts(content[end + 4 :]):
                yield (content[:end], *more)
    yield (content,)


def _items(s: bytes, at: int) -> Iterator[tuple[tuple[Node, ...], int]]:
    """Every way to read Items and the delimiter behind them."""
    if s[at : at + 4] == DELIMITER:
        yield (), at + 4
    if s[at : at + 4] != ITEM:
        return
    for elements, end in _prefixes(s, at + 4, -1):
        if s[end : end + 4] in (ITEM, DELIMITER):
            content = partial(_contents, tuple(node for _, node in elements))
            for more, stop in _items(s, end):
                yield (content, *more), stop


def _contents(elements: tuple[Node, ...]) -> Iterator[bytes]:
    return map(b"".join, _choices(elements))


def _is_never_signed(tag: int) -> bool:
    group = tag >> 16
    return not tag & 0xFFFF or group < 8 or group in (0xFFFA, 0xFFFE) or tag in _NOT_IN_A_STREAM
