"""Parse the text of a TOML file, and say of a mistake in which line it is and how to correct it.

`tomllib` reports the first mistake in terms of its own grammar. A person who edits a file by hand makes few kinds of
mistakes (a wrong encoding, typographic quotation marks, a table that stands twice), and each has a sentence here. No
sentence repeats a value, because a PIN may stand there.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

from hsm_dicom.errors import DicomError

_PLACE = re.compile(r"\(at line (?P<line>\d+), column \d+\)\Z")
_DECLARED = re.compile(r"(?P<name>\([^)]*\)) twice")
_TYPOGRAPHIC = re.compile("[\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb]")
_TABLE = re.compile(r"\s*\[+\s*(?P<name>[^\[\]]+?)\s*\]+")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_SENTENCES = (
    ("Cannot overwrite a value", "A key stands twice in its table.", "Remove one of the two lines."),
    ("Cannot mutate immutable", "A table extends one that was written in braces.", "Write all of it in one place."),
    ("Invalid value", "The value is not of TOML's form.", 'Write texts in quotation marks, like name = "text".'),
    ("Invalid statement", "The line is neither a table nor a key with its value.", 'Write it like name = "text".'),
    ("Expected '=' after a key", "The key has no value.", 'Write it like name = "text".'),
    ("Expected newline", "Something follows the value.", "Write one key in each line, and texts in quotation marks."),
    ("Unterminated string", "The text has no closing quotation mark.", "Add it."),
    ("Expected '\"", "The text has no closing quotation mark.", "Add it."),
    ("Expected \"'", "The text has no closing quotation mark.", "Add it."),
    ("Illegal character '\\n'", "The text has no closing quotation mark.", "Add it."),
    ("Illegal character '\\r'", "The text has no closing quotation mark.", "Add it."),
    ("Unclosed array", "The list has no closing bracket.", "Add ]."),
    ("Unclosed inline table", "The table in braces has no closing brace.", "Add }."),
    ("Expected ']", "The line that begins a table has no closing bracket.", "Write it like [table.name]."),
    ("Unescaped '\\'", "A backslash stands in a text.", "Write it twice, or use single quotation marks."),
    ("Invalid hex value", "A backslash stands in a text.", "Write it twice, or use single quotation marks."),
)


class TomlTextError(DicomError):
    """The text is not TOML. `what` and `remedy` are sentences, `line` counts from 1 and is None if unknown."""

    def __init__(self, what: str, remedy: str, line: int | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.what = what
        self.line = line

    def at(self, file: Path) -> str:
        """Return the mistake with its place, as `FILE:LINE: sentences`."""
        place = str(file) if self.line is None else f"{file}:{self.line}"
        return f"{place}: {self}"


def decode_toml(content: bytes) -> str:
    """Decode the bytes of a TOML file. A byte order mark, which some editors write, is passed over.

    Raises `TomlTextError` if they are not UTF-8.
    """
    if content.startswith(_UTF_16):
        raise TomlTextError("The file is UTF-16 text.", "Save it as UTF-8.", 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = "The line holds a character that is not UTF-8, such as an umlaut that was saved as Latin-1."
        raise TomlTextError(what, "Save the file as UTF-8.", line) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises `TomlTextError` for the first mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _explained(str(error), text) from None
    except (ValueError, RecursionError):
        what = "The file holds a number of thousands of digits, or lists nested in lists hundreds of times."
        raise TomlTextError(what, "Remove it.") from None


def _explained(message: str, text: str) -> TomlTextError:
    lines = text.splitlines()
    match = _PLACE.search(message)
    line = int(match["line"]) if match else _last_line(lines)
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if _TYPOGRAPHIC.search(written) and not message.startswith("Cannot"):
        what = "The line holds typographic quotation marks."
        return TomlTextError(what, "Write straight ones: \" or '.", line)
    if _DECLARED.search(message):
        return _table_twice(lines, line)
    for beginning, what, remedy in _SENTENCES:
        if message.startswith(beginning):
            return TomlTextError(what, remedy, line)
    return TomlTextError("The line is not TOML.", "See https://toml.io for its form.", line)


def _table_twice(lines: list[str], line: int) -> TomlTextError:
    header = _TABLE.match(lines[line - 1])
    name = header["name"] if header else ""
    first = next((n for n, text in enumerate(lines, 1) if (one := _TABLE.match(text)) and one["name"] == name), line)
    where = f", first in line {first}" if first != line else ""
    remedy = "Move its keys to the first one, or give this one another name."
    return TomlTextError(f"The table [{name}] stands twice{where}.", remedy, line)


def _last_line(lines: list[str]) -> int:
    """The last line with something in it, where a mistake "at end of document" begins to matter."""
    return max((number for number, text in enumerate(lines, 1) if text.strip()), default=1)
