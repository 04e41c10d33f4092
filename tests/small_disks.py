"""File systems that are small, or that only a test sees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

MAY_MOUNT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
_NEW_MOUNTS = 0x00020000
_MOUNT = "/usr/bin/mount"
"""With its path: some tests run without the search path."""


def on_a_small_disk(folder: Path, size: int, scene: Callable[[], None]) -> None:
    """Play a scene in a child process that sees a file system of so many bytes at a folder."""
    folder.mkdir()

    def play() -> None:
        subprocess.run([_MOUNT, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        scene()

    play_apart(play)


def play_apart(scene: Callable[[], None]) -> None:
    """Play a scene in a child process that may mount file systems which nobody else sees."""
    child = os.fork()
    if child == 0:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
                raise OSError(ctypes.get_errno(), "unshare")
            subprocess.run([_MOUNT, "--make-rprivate", "/"], check=True)
            scene()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def leave_free(folder: Path, size: int) -> Path:
    """Fill a file system up to so many free bytes; the file that does it."""
    free = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - size)))
    return filler
