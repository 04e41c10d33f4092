"""Files of interrupted receptions: distinguishable from those in progress, and removed at start.

Each file is locked (flock) for as long as its reception lives. The lock ends with its process, even by SIGKILL, so what
can be locked by somebody else is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PART = re.compile(r"\.[0-9.]{1,64}\.[0-9]+\.[0-9]+\.part")
_numbers = itertools.count(1)  # of the process: listeners may share a folder, and names there hold the process id


def open_part(folder: Path, sop_instance_uid: str) -> tuple[Path, int]:
    """Make a file for a reception, mode 0600. Returns its path, and a descriptor that holds its lock."""
    while True:
        path = folder / f".{sop_instance_uid}.{os.getpid()}.{next(_numbers)}.part"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # somebody who cleans up was quicker than our lock


def remove_leftovers(folder: Path) -> int:
    """Remove the files that no reception holds any more; returns how many. Never raises for a file."""
    removed = 0
    for path in sorted(folder.iterdir()):
        if _PART.fullmatch(path.name):
            with contextlib.suppress(OSError), _hold_lock(path):
                path.unlink()
                removed += 1
    return removed


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file. Raises `OSError` where somebody else does, or where there are no locks."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
