"""Writing a file to disk while it arrives, so that the fsync at its end has little left to wait for.

Linux otherwise keeps what was written in memory for up to 30 seconds, and a large object would be received first and
written to disk after that. sync_file_range(2) only begins the writing. It promises nothing, so the fsync stays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import BinaryIO

STEP = 8 << 20
"""Bytes after which the writing to disk of what has arrived begins."""

_SYNC_FILE_RANGE_WRITE = 2

BeginWriting = Callable[[int, int, int], object]
"""(descriptor, offset, length): begins to write a part of a file to disk."""


class Writeback:
    """How far the writing to disk of one file has begun."""

    def __init__(self, file: BinaryIO, begin_writing: BeginWriting | None = None) -> None:
        self._file = file
        self._begin_writing = begin_writing or _load()
        self._begun = 0
        self._arrived = 0

    def add(self, count: int) -> None:
        """Take note of bytes that were written to the file. Raises `OSError` if its buffer cannot be written."""
        self._arrived += count
        if self._arrived >= STEP:
            self._arrived = 0
            self._file.flush()
            end = self._file.tell()
            self._begin_writing(self._file.fileno(), self._begun, end - self._begun)
            self._begun = end


@cache
def _load() -> BeginWriting:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except AttributeError:  # a C library without it
        return lambda descriptor, offset, length: None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return lambda descriptor, offset, length: function(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)
