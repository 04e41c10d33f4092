"""Line numbers of the keys of a TOML file, which `tomllib` does not give.

Reads table headers and the beginnings of `key = value` lines only. A file that hides its keys in inline tables or in
multi-line strings costs a line number, never more.
"""

from __future__ import annotations

import re
import tomllib

_HEADER = re.compile(r"\s*\[(?P<array>\[?)\s*(?P<path>[^\[\]]+?)\s*\]\]?\s*(#.*)?\Z")
_ASSIGNMENT = re.compile(
    r"\s*(?P<path>(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)

KeyPath = tuple[str, ...]


def index_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every visible table and key; of a repeated one, the first.

    The tables of an array (`[[cards.a.keys]]`) have their number in the path, from "0".
    """
    lines: dict[KeyPath, int] = {}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _number(_parts(header["path"]), lengths)
            if header["array"]:
                lengths[table] = lengths.get(table, 0) + 1
                table = (*table, str(lengths[table] - 1))
            _put(lines, table, number)
        elif assignment := _ASSIGNMENT.match(line):
            _put(lines, table + _parts(assignment["path"]), number)
    return lines


def list_headings(text: str) -> list[tuple[int, KeyPath, str]]:
    """Return each heading of a table: its line, from 1, its path, and the path as it is written."""
    matches = ((number, _HEADER.match(line)) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, _parts(header["path"]), header["path"]) for number, header in matches if header]


def find_line(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of a key, or of the nearest table around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def _put(lines: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _number(path: KeyPath, lengths: dict[KeyPath, int]) -> KeyPath:
    """Return a table's path with the numbers of the array tables that it is in: the last one of each."""
    numbered: KeyPath = ()
    for part in path[:-1]:
        numbered = (*numbered, part)
        if numbered in lengths:
            numbered = (*numbered, str(lengths[numbered] - 1))
    return (*numbered, *path[-1:])


def _parts(dotted: str) -> KeyPath:
    """Return the parts of a dotted key without their quotes, as tomllib reads them."""
    try:
        nested = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    parts = []
    while isinstance(nested, dict):
        name, nested = next(iter(nested.items()))
        parts.append(name)
    return tuple(parts)
