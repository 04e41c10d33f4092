"""Versions of Debian packages, where tests expect more of a later one."""

from __future__ import annotations

import re
import shutil
import subprocess


def read_version(package: str) -> tuple[int, ...]:
    """Return the version of an installed package, without an epoch and Debian's revision, or () where it is missing.

    Tests that need nothing but Python are collected with the others.
    """
    if shutil.which("dpkg-query") is None:
        return ()
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${source:Upstream-Version}", package], capture_output=True, text=True
    )
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout.split("+")[0]))
