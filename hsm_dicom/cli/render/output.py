"""Output of commands: text for people on a terminal of any width, with or without colour; JSON for programs.

Text from a device, a file, a certificate or a peer is made printable (`tokens.printable`), so that it cannot move the
cursor, forge a line of hsm-dicom or act as markup. Each function here does so with all of its text, and the consoles do
it again with everything that they draw, which includes tables and progress bars.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from tokens.printable import printable, printable_lines

GOOD, BAD, UNSURE, QUIET = "green", "bold red", "yellow", "dim"

shown = printable
"""Short name of `printable` for commands that build sentences."""


class PrintableConsole(Console):
    """Console that removes control sequences from text; only those of rich, for style and movement, remain."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render like `Console`, with each piece of text made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)


log = logging.getLogger("hsm_dicom.cli")

_UNBOUNDED = 10_000
"""Width of a file or a pipe in columns: a result there is one line, independent of COLUMNS."""

_bar: Console | None = None
"""The console of the process that shows a progress bar now; other output is printed above the bar."""


def console() -> Console:
    """Return standard output, with colour only on a terminal and if NO_COLOR is not set."""
    if _bar is not None and sys.stdout.isatty():
        return _bar
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return PrintableConsole(highlight=False, markup=False, emoji=False, soft_wrap=False, width=width)


def errors() -> Console:
    """Return standard error, for progress and for files that failed."""
    return _bar or PrintableConsole(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """Continue if standard output cannot be written any more: log that, and discard what is printed from then on.

    rich ends the process in that case. That is right for a command that prints results, but not for a running node.
    """
    is_written = False
    with suppress(SystemExit):  # rich has redirected standard output to the null device by then
        yield
        is_written = True
    if not is_written:
        log.error("Nothing more is printed: standard output cannot be written.")


def note(text: str) -> None:
    """Print one paragraph on standard error: wrapped between words on a terminal, one line anywhere else."""
    out = errors()
    for line in _wrap(Text(shown(text)), out.width if out.is_terminal else _UNBOUNDED):
        line.rstrip()
        out.print(line, soft_wrap=True)


def say(*parts: str | tuple[str, str], indent: int = 0, hang: int = 0) -> None:
    """Print one paragraph on standard output; a part may be (text, style).

    On a terminal it is wrapped between words and indented by `indent` columns, lines after the first by `hang` more;
    otherwise it is one line.
    """
    out = console()
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    line = Text.assemble(*((shown(text), style) for text, style in pairs))
    for number, wrapped in enumerate(_wrap(line, max(20, out.width - indent - hang))):
        wrapped.rstrip()
        out.print(Text(" " * (indent + (hang if number else 0))) + wrapped, soft_wrap=True)


def outcome(good: bool, *parts: str | tuple[str, str], indent: int = 0) -> None:
    """Print a paragraph that begins with the sign for good or bad."""
    sign = mark(good)
    say(sign, " ", *parts, indent=indent, hang=len(sign[0]) + 1)


def result(good: bool, text: str, *, sign: tuple[str, str] | None = None) -> None:
    """Print one result of many on one line, with the sign for good or bad, or with `sign`."""
    console().print(Text.assemble(sign or mark(good), " ", shown(text)), soft_wrap=True)


def _wrap(text: Text, width: int) -> Iterator[Text]:
    """Yield the text in lines of at most `width` columns, divided between words, but not after a sign at its start."""
    for paragraph in text.split(allow_blank=True):
        offsets, used = [], 0
        for word in re.finditer(r"\S+\s*", paragraph.plain):
            if used > 2 and used + cell_len(word[0].rstrip()) > width:
                offsets.append(word.start())
                used = 0
            used += cell_len(word[0])
        yield from paragraph.divide(offsets)


def say_verbatim(text: str, indent: int = 0, style: str = "") -> None:
    """Print text for copying, such as a command or a URI, without wrapping it."""
    console().print(Text(" " * indent + shown(text), style), soft_wrap=True)


def mark(good: bool) -> tuple[str, str]:
    """Return the sign and the style of a check that passed or failed; the sign is readable without colour."""
    yes, no = ("✓", "✗") if _unicode() else ("ok", "NO")
    return (yes, GOOD) if good else (no, BAD)


class Table:
    """Table without a frame; cells are wrapped between words on a terminal, and a row is one line in a pipe."""

    def __init__(self, *columns: str, right: Iterable[str] = ()) -> None:
        """Create a table with these columns; the cells of those in `right` are aligned to the right."""
        self._right = [column in set(right) for column in columns]
        self._rows: list[list[Text]] = [[Text(column, "bold") for column in columns]]
        self._notes: dict[int, tuple[str, str]] = {}

    def add_row(self, *cells: Text | str) -> None:
        """Add a row with a cell for each column."""
        self._rows.append([cell if isinstance(cell, Text) else Text(shown(cell)) for cell in cells])

    def add_note(self, text: str, style: str = "") -> None:
        """Add a paragraph under the last row, which does not widen the columns."""
        self._notes[len(self._rows) - 1] = text, style

    def print(self, indent: int = 0) -> None:
        """Print the table on standard output."""
        out = console()
        widths = self._widths(out.width - indent - 2 * (len(self._right) - 1))
        for place, row in enumerate(self._rows):
            cells = [list(_wrap(cell, width)) for cell, width in zip(row, widths, strict=True)]
            for number in range(max(len(lines) for lines in cells)):
                line = Text(" " * indent)
                for lines, width, right in zip(cells, widths, self._right, strict=True):
                    piece = lines[number] if number < len(lines) else Text()
                    piece.rstrip()
                    space = " " * (width - piece.cell_len)
                    line = Text.assemble(line, space if right else "", piece, "" if right else space, "  ")
                line.rstrip()
                out.print(line, soft_wrap=True)
            if place in self._notes:
                say(self._notes[place], indent=indent + widths[0] + 2)

    def _widths(self, room: int) -> list[int]:
        """Return the widths of the columns: their longest cells, narrowed to fit, but not below their longest word."""
        columns = list(zip(*self._rows, strict=True))
        widths = [max(cell.cell_len for cell in column) for column in columns]
        least = [max(cell_len(word) for cell in column for word in [*cell.plain.split(), ""]) for column in columns]
        while sum(widths) > room:
            spare = [width if width > low else 0 for width, low in zip(widths, least, strict=True)]
            if not any(spare):
                break
            widths[spare.index(max(spare))] -= 1
        return widths


def facts(rows: Iterable[tuple[str, str]], indent: int = 2) -> None:
    """Print names and values, one pair on each line. On a terminal, values are wrapped in their own column."""
    listed = list(rows)
    names = max((len(name) for name, _ in listed), default=0)
    left = indent + names + 2
    out = console()
    for name, value in listed:
        lines = _wrap(Text(shown(value)), max(20, out.width - left))
        for number, line in enumerate(lines):
            line.rstrip()
            head = Text(" " * indent + (name if number == 0 else "").ljust(names + 2), QUIET)
            out.print(Text.assemble(head, line), soft_wrap=True)


_VERSIONS = dict.fromkeys(
    (
        *("token-check", "key-list", "key-generate", "secret-import", "secret-generate", "secret-list"),
        *(
            "card-info",
            "card-check",
            "check-config",
            "sign",
            "sign-summary",
            "signatures",
            "echo",
            "store",
            "tls-probe",
        ),
    ),
    2,
)
"""The versions of the schemas whose members changed since version 1."""


def write_json(kind: str, content: Mapping[str, Any]) -> None:
    """Write one JSON document on one line: {"schema": "hsm-dicom/KIND/VERSION", …}. See docs/reference/json.md."""
    sys.stdout.write(json.dumps({"schema": f"hsm-dicom/{kind}/{_VERSIONS.get(kind, 1)}"} | dict(content)) + "\n")
    sys.stdout.flush()


def timestamp(time: datetime) -> str:
    """Format a time for JSON: UTC, RFC 3339, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def working(doing: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show the current step on standard error during the block, only on a terminal; yield a function to update it."""
    if quiet:
        yield lambda _: None
        return
    with errors().status(shown(doing)) as status:
        yield lambda doing: status.update(shown(doing[:1].upper() + doing[1:]))


@contextmanager
def progress(doing: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error, only on a terminal; yield a function to call after each file.

    Other output appears above the bar. Standard output is not redirected for that, since its encoding, and whether it
    is a terminal, decide the format of results.
    """
    global _bar
    out = errors()
    if quiet or total < 2 or not out.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=out, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(shown(doing), total=total)
        _bar = out
        try:
            yield lambda: bar.advance(task)
        finally:
            _bar = None


def complain(about: str, reason: str) -> None:
    """Print one line on standard error about one file of many; `reason` may begin with its name."""
    line, name = shown(reason), shown(about)
    if not line.startswith((f"{name}:", f"{name} ")):
        line = f"{name}: {line}"
    errors().print(f"hsm-dicom: {line}", soft_wrap=True)


def count(number: int, noun: str) -> str:
    """Format a number with its noun: "3 files", "1 file", "no files"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


@cache
def _unicode() -> bool:
    try:
        "✓✗…".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
