"""Encoded bytes from a file, read in spans, or from a buffer; independent of elements.

Small files are read once, whole. Of larger ones only what is asked for is read, with ``pread``: never mapped into
memory (a file cut short under a mapping kills the process), never held as a whole.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, TypeAlias

from hsm_dicom.dataset.errors import DicomFileError, FileChangedError, NotDicomError

if TYPE_CHECKING:
    from hsm_dicom.dataset.octets.hashed import HashedSpan

Span: TypeAlias = tuple[int, int, int]
"""Bytes ``[start, end)`` of the source, whose units of so many bytes (1, 2, 4 or 8) are to be byte-swapped."""

Piece: TypeAlias = Span | bytes
"""A part of a byte stream: bytes of the source, or bytes that are not in it."""

HELD_IN_MEMORY = 1 << 20
"""Files up to this many bytes are read whole, once."""

WINDOW = 1 << 14
CHUNK = 1 << 18
MAX_INFLATED = 4 << 30
"""A deflated Data Set that grows beyond this many bytes is refused."""

_INFLATED_IN_MEMORY = 1 << 25
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_ARRAY_CODES = {array(code).itemsize: code for code in "HIQ"}


@dataclass(frozen=True)
class Content:
    """An object that is not at a path: encoded bytes in memory, or an open regular file.

    ``name`` stands for it in messages. ``fd`` is read with ``pread`` and stays the caller's. ``size`` is that which
    the file will have, if it is still being written; what it lacks cannot be read. ``hashed`` is what was hashed of it.
    """

    name: str
    data: bytes | None = field(default=None, repr=False)
    fd: int = -1
    size: int | None = None
    hashed: tuple[HashedSpan, ...] = ()


ObjectSource: TypeAlias = str | os.PathLike[str] | Content
"""Where an object is read from."""


class Source:
    """Random access to ``size`` bytes, as a file descriptor or, where ``held`` is set, in memory."""

    def __init__(self, name: str, *, held: bytes | None = None, fd: int = -1, size: int = 0) -> None:
        self.name = name
        self.held = held
        self.fd = fd
        self.size = len(held) if held is not None else size
        self.hashed: tuple[HashedSpan, ...] = ()
        self.skip: Callable[[int, int], int] | None = None
        """Returns from where on a long span has to be read for ``feed``, if not from its start; see ``StreamHash``."""

    def replace(self, content: bytes | None) -> None:
        """Give these bytes, where there are any, in place of those of the file, which stays open."""
        if content is not None:
            self.held, self.size = content, len(content)

    def window(self, offset: int) -> tuple[bytes, int]:
        """Return some bytes around ``offset``, and the offset of the first of them."""
        if self.held is not None:
            return self.held, 0
        return self.read(offset, min(self.size, offset + WINDOW)), offset

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)``. Raises FileChangedError if they are no longer there."""
        if self.held is not None:
            return self.held[start:end]
        data = os.pread(self.fd, end - start, start)
        while len(data) < end - start:
            more = os.pread(self.fd, end - start - len(data), start + len(data))
            if not more:
                raise FileChangedError(self.name, "the file became shorter while it was being read.")
            data += more
        return data

    def feed(self, pieces: Iterable[Piece], update: Callable[[bytes | memoryview], object]) -> int:
        """Give the stream that the pieces describe to ``update``, in parts, and return its size in bytes."""
        gathered: list[bytes] = []
        total = size = 0
        for piece in pieces:
            if isinstance(piece, bytes):
                gathered.append(piece)
                size += len(piece)
            else:
                start, end, unit = piece
                if end - start > WINDOW and (self.held is None or unit != 1):
                    update(b"".join(gathered))
                    total += size + end - start
                    gathered, size = [], 0
                    self._feed_long(start, end, unit, update)
                    continue
                part = self.read(start, end)
                gathered.append(part if unit == 1 else swap_bytes(part, unit))
                size += end - start
            if size > CHUNK:
                update(b"".join(gathered))
                total += size
                gathered, size = [], 0
        update(b"".join(gathered))
        return total + size

    def _feed_long(self, start: int, end: int, unit: int, update: Callable[[bytes | memoryview], object]) -> None:
        if self.held is not None or unit != 1:
            for at in range(start, end, CHUNK):
                update(swap_bytes(self.read(at, min(end, at + CHUNK)), unit))
            return
        if self.skip is not None:
            start = self.skip(start, end)
        buffer = bytearray(min(CHUNK, end - start))
        view = memoryview(buffer)
        while start < end:
            count = os.preadv(self.fd, [view[: end - start]], start)
            if not count:
                raise FileChangedError(self.name, "the file became shorter while it was being read.")
            update(view[:count])
            start += count

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_source(path: ObjectSource) -> tuple[Source, os.stat_result]:
    """Open a regular file, or content, for reading; return its status at that time.

    Content in memory has a status that no file has. Raises DicomFileError if the path is not a regular file or cannot
    be opened.
    """
    if isinstance(path, Content) and path.data is not None:
        return Source(path.name, held=path.data), _status_in_memory(len(path.data))
    name = path.name if isinstance(path, Content) else os.fspath(path)
    try:
        fd = os.dup(path.fd) if isinstance(path, Content) else os.open(name, _READING)
    except OSError as error:
        raise DicomFileError(name, f"cannot be opened: {error.strerror}.") from error
    source = Source(name, fd=fd)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise DicomFileError(name, "is a directory, not a DICOM file.")
        if not stat.S_ISREG(status.st_mode):
            raise DicomFileError(name, "is not a regular file.")
        source.size = status.st_size
        if isinstance(path, Content):
            source.size, source.hashed = status.st_size if path.size is None else path.size, path.hashed
        if source.size <= HELD_IN_MEMORY:
            source.held = source.read(0, source.size)
    except OSError as error:
        source.close()
        raise DicomFileError(name, f"cannot be read: {error.strerror}.") from error
    except DicomFileError:
        source.close()
        raise
    return source, status


def _status_in_memory(size: int) -> os.stat_result:
    mode = stat.S_IFREG | 0o600
    return os.stat_result((mode, 0, 0, 0, 0, 0, size, 0, 0, 0), {"st_mtime_ns": 0, "st_ctime_ns": 0})


def inflate(source: Source, head: int) -> Source:
    """Undo Deflated Explicit VR Little Endian (PS3.5 A.5): the first ``head`` bytes stay, the rest is inflated.

    The result is held in memory, or in an unlinked temporary file where it is large. Raises NotDicomError for a
    broken or endless stream, and for bytes behind it other than one pad byte or a matching gzip trailer.
    """
    with tempfile.SpooledTemporaryFile(max_size=_INFLATED_IN_MEMORY) as buffer:
        buffer.write(source.read(0, head))
        size = head + _inflate_into(buffer, source, head)
        if size <= _INFLATED_IN_MEMORY:
            buffer.seek(0)
            return Source(source.name, held=buffer.read())
        buffer.flush()
        return Source(source.name, fd=os.dup(buffer.fileno()), size=size)


def _inflate_into(buffer: IO[bytes], source: Source, at: int) -> int:
    """Inflate all that follows ``at``; return its size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    checksum = size = 0
    data = b""
    while not inflater.eof:
        if not data:
            data = source.read(at, min(source.size, at + CHUNK))
            at += len(data)
        if not data:
            raise NotDicomError(source.name, "the deflated Data Set ends too early; the file is truncated.")
        try:
            plain = inflater.decompress(data, CHUNK)
        except zlib.error as error:
            raise NotDicomError(source.name, f"the deflated Data Set is corrupt: {error}.") from error
        data = inflater.unconsumed_tail
        checksum = zlib.crc32(plain, checksum)
        size += buffer.write(plain)
        if size > MAX_INFLATED:
            raise NotDicomError(
                source.name, f"the deflated Data Set inflates to more than {MAX_INFLATED >> 30} GiB; refused."
            )
    rest = inflater.unused_data + source.read(at, min(source.size, at + 16))
    gzip_trailer = struct.pack("<II", checksum, size & 0xFFFFFFFF)  # some writers leave it there
    if rest not in (b"", b"\0", gzip_trailer):
        raise NotDicomError(source.name, "there are bytes behind the deflated Data Set.")
    return size


def swap_bytes(data: bytes, unit: int) -> bytes:
    """Reverse the byte order within each unit of 2, 4 or 8 bytes; units of 1 byte stay as they are."""
    if unit == 1:
        return data
    units = array(_ARRAY_CODES[unit], data)
    units.byteswap()
    return units.tobytes()
