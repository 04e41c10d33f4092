"""Changing one key or table of a configuration file, as an officer would: all other lines stay as they are.

The new text is checked beside the file before it takes the file's place, with the same owner, group and mode.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from hsm_dicom.config.lines import KeyPath, index_lines, list_headings
from hsm_dicom.errors import DicomError


class EditError(DicomError):
    """A key of a configuration file cannot be set."""


def set_key(text: str, table: KeyPath, key: str, value: str) -> str:
    """Return the text with `key = value` in a table: in the key's line, or in a new one under the table's heading.

    Raises `EditError` if the table has no heading of its own, as an inline table has none.
    """
    places, lines = index_lines(text), text.splitlines(keepends=True)
    line = f"{key} = {value}\n"
    if (number := places.get((*table, key))) is not None:
        lines[number - 1] = line
        return "".join(lines)
    number = places.get(table)
    if number is None or not lines[number - 1].lstrip().startswith("["):
        name = ".".join(table)
        raise EditError(f"The file has no heading [{name}].", remedy=f"Write {line.strip()} in the table {name}.")
    if not lines[number - 1].endswith("\n"):
        lines[number - 1] += "\n"
    return "".join([*lines[:number], line, *lines[number:]])


def move_table(text: str, source: KeyPath, target: KeyPath) -> str:
    """Return the text with the lines of table `source` under the heading of `target`, whose own lines are removed.

    Raises `EditError` if that is not what the text then says.
    """
    problem = EditError(
        f"The lines of [{'.'.join(source)}] cannot be moved to [{'.'.join(target)}] without changing others.",
        remedy="Move them with an editor.",
    )
    lines, headings = text.splitlines(keepends=True), list_headings(text)
    spans = {
        path: (number - 1, following - 1, written)
        for (number, path, written), (following, *_) in pairwise([*headings, (len(lines) + 1, (), "")])
    }
    if source not in spans or target not in spans:
        raise problem
    begin, end, written = spans[target]
    while not (line := lines[end - 1].strip()) or line.startswith("#"):
        end -= 1  # what stands before the next table is about that one
    heading, _, former = spans[source]
    lines[heading] = lines[heading].replace(former, written, 1)
    moved = "".join([*lines[:begin], *lines[end:]])
    wanted = tomllib.loads(text)
    tables = wanted
    for part in source[:-1]:
        tables = tables[part]
    tables[target[-1]] = tables.pop(source[-1])
    if source[:-1] != target[:-1] or tomllib.loads(moved) != wanted:
        raise problem
    return moved


def replace_configuration(file: Path, text: str, check: Callable[[Path], None]) -> None:
    """Write the text to the file, after `check` has accepted a file beside it with the same text.

    Raises what `check` raises, and OSError; the file is then as it was.
    """
    target = file.resolve()
    before = target.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".toml", dir=target.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(PermissionError):  # only root gives a file to another user
            os.chown(beside, before.st_uid, before.st_gid)
        shutil.copymode(target, beside)
        check(beside)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
