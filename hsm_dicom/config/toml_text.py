"""Parse TOML, and report a mistake with its line and its remedy.

`tomllib` reports the first mistake in terms of its own grammar. A person who edits a file by hand makes few kinds of
mistakes (a wrong encoding, typographic quotation marks, a repeated table), and each has a sentence here. No sentence
repeats a value, which may be a PIN.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

from hsm_dicom.errors import DicomError

_PLACE = re.compile(r"\(at line (?P<line>\d+), column (?P<column>\d+)\)\Z")
_DECLARED = re.compile(r"(?P<name>\([^)]*\)) twice")
_TYPOGRAPHIC = re.compile("[\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb]")
_TABLE = re.compile(r"\s*\[+\s*(?P<name>[^\[\]]+?)\s*\]+")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_SENTENCES = (
    ("Cannot overwrite a value", "The table has this key twice.", "Remove one of the two lines."),
    ("Cannot mutate immutable", "The table extends one in braces.", "Write all of its keys in one place."),
    ("Invalid value", "The value is not TOML.", 'Write texts in quotation marks, like name = "text".'),
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
    ("Unescaped '\\'", "The text contains a backslash.", "Write it twice, or use single quotation marks."),
    ("Invalid hex value", "The text contains a backslash.", "Write it twice, or use single quotation marks."),
)


class TomlTextError(DicomError):
    """The text is not TOML. `line` and `column` count from 1, and are None if unknown."""

    def __init__(self, message: str, remedy: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.line, self.column = line, column

    def at(self, file: Path) -> str:
        """Return the mistake with its place, as `FILE:LINE:COLUMN: sentences`."""
        place = ":".join(str(part) for part in (file, self.line, self.column) if part is not None)
        return f"{place}: {self}"


def decode_toml(content: bytes) -> str:
    """Decode the bytes of a TOML file. A byte order mark, which some editors write, is ignored.

    Raises `TomlTextError` if they are not UTF-8.
    """
    if content.startswith(_UTF_16):
        raise TomlTextError("The file is UTF-16 text.", "Save it as UTF-8.", 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = "The line contains a character that is not UTF-8, such as an umlaut that was saved as Latin-1."
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise TomlTextError(what, "Save the file as UTF-8.", line, column) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises `TomlTextError` for the first mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        translated = _translate(str(error), text)
        match = _PLACE.search(str(error))
        translated.column = int(match["column"]) if match else None
        raise translated from None
    except (ValueError, RecursionError):
        what = "The file contains a number of thousands of digits, or lists nested in lists hundreds of times."
        raise TomlTextError(what, "Remove it.") from None


def _translate(message: str, text: str) -> TomlTextError:
    lines = text.splitlines()
    match = _PLACE.search(message)
    line = int(match["line"]) if match else _find_last_line(lines)
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if _TYPOGRAPHIC.search(written) and not message.startswith("Cannot"):
        what = "The line contains typographic quotation marks."
        return TomlTextError(what, "Write straight ones: \" or '.", line)
    if _DECLARED.search(message):
        return _describe_repeated_table(lines, line)
    for beginning, what, remedy in _SENTENCES:
        if message.startswith(beginning):
            return TomlTextError(what, remedy, line)
    return TomlTextError("The line is not TOML.", "See https://toml.io for its form.", line)


def _describe_repeated_table(lines: list[str], line: int) -> TomlTextError:
    header = _TABLE.match(lines[line - 1])
    name = header["name"] if header else ""
    first = next((n for n, text in enumerate(lines, 1) if (one := _TABLE.match(text)) and one["name"] == name), line)
    where = f", first in line {first}" if first != line else ""
    remedy = "Move its keys to the first one, or give this one another name."
    return TomlTextError(f"The file has the table [{name}] twice{where}.", remedy, line)


def _find_last_line(lines: list[str]) -> int:
    """Return the last line that is not empty, for a mistake "at end of document"."""
    return max((number for number, text in enumerate(lines, 1) if text.strip()), default=1)
