"""Owner and mode of files that no other user may write or read.

A configuration names the libraries that this program loads: a user who can write it, or its folder, can run code with
the rights and the logged-in tokens of this program. The same is true for the libraries themselves.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_TRUSTED_OWNERS = (0,)


def find_write_risk(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with a file's owner and mode, and the remedy; None if only root or this user can change it.

    Symbolic links are followed, and the folder of the real file is checked as well. Raises OSError.
    """
    real = path.resolve(strict=True)
    status = real.stat()
    if status.st_uid not in (*_TRUSTED_OWNERS, os.geteuid()):
        return (
            f"{path} belongs to another user (uid {status.st_uid}), who can change it at any time.",
            f"Read it, then run: chown root {path}",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"{path} may be written by others (mode {stat.S_IMODE(status.st_mode):04o}).",
            f"Run: chmod go-w {path}",
        )
    folder = real.parent.stat()
    # In a sticky folder, such as /tmp, only the owner of a file can replace it.
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return (
            f"{path} can be replaced by anybody: its folder {real.parent} may be written by all "
            f"(mode {stat.S_IMODE(folder.st_mode):04o}).",
            f"Run: chmod o-w {real.parent}",
        )
    return None


def find_read_risk(path: Path) -> tuple[str, str] | None:
    """Return the same for a file with a private key, which others must not read. Raises OSError."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return (
            f"{path} may be read by others (mode {stat.S_IMODE(mode):04o}).",
            f"Run: chmod 600 {path}; and treat its content as known to others.",
        )
    return None
