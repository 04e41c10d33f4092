"""The help page of a command: plain text in columns, in which no word, option or path is ever broken.

Two columns: names on the left, their meaning on the right. A name that is longer than its column has a line of its own,
and its description begins on the next one. Lines are divided between words only, so that an option that is longer than
the terminal is wrapped by the terminal instead of being cut off.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.render._typer import Parameter, is_group, list_visible_commands, list_visible_parameters

_WIDEST = 120
"""Columns: longer lines are hard to read."""
_NAMES = 26
"""Columns for names, at most."""
_GAP = 2

_FIRST, _LAST = "Options", "Common options"

Row = tuple[str, str]


def help_page(command: Any, ctx: Any) -> str:
    """Return the help of a command or a group: usage, description, arguments, options, exit statuses, example."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    sections = [*_parameter_sections(command, ctx), *_command_sections(command, ctx)]
    path = tuple(ctx.command_path.split()[1:])
    statuses = [] if is_group(command) else exits.statuses_of(path)
    sections.append(("Exit status", [(str(status), meaning) for status, meaning in statuses]))
    left = max((len(name) for _, rows in sections for name, _ in rows if len(name) <= _NAMES), default=0)
    blocks = [_usage(command, ctx, width), *_paragraphs(command.help or "", width)]
    for title, rows in sections:
        if rows:
            blocks.append("\n".join([typer.style(f"{title}:", bold=True), *_in_columns(rows, left, width)]))
    if command.epilog:
        blocks.append("\n".join(_example(command.epilog, width)))
    return "\n\n".join(blocks) + "\n"


def _usage(command: Any, ctx: Any, width: int) -> str:
    words = ["[OPTIONS]", *(_argument(p) for p in list_visible_parameters(command, ctx) if not p.is_option)]
    if is_group(command):
        words += ["COMMAND", "[ARGS]..."]
    head = f"Usage: {ctx.command_path} "
    return "\n".join(_wrap(head + " ".join(words), width, hang=len(head)))


def _paragraphs(text: str, width: int) -> list[str]:
    return ["\n".join(_wrap(" ".join(part.split()), width)) for part in text.split("\n\n") if part.strip()]


def _parameter_sections(command: Any, ctx: Any) -> list[tuple[str, list[Row]]]:
    """Return the arguments, then the options by panel: a command's own, its further panels, those that many share."""
    shown = list_visible_parameters(command, ctx)
    arguments = [(_metavar(p), _describe(p)) for p in shown if not p.is_option]
    panels: dict[str, list[Row]] = {}
    for option in (p for p in shown if p.is_option):
        panels.setdefault(option.panel or _FIRST, []).append((_option(option), _describe(option)))
    order = sorted(panels, key=lambda panel: (panel == _LAST, panel != _FIRST))
    return [("Arguments", arguments), *((panel, panels[panel]) for panel in order)]


def _command_sections(command: Any, ctx: Any) -> list[tuple[str, list[Row]]]:
    panels: dict[str, list[Row]] = {}
    for below in list_visible_commands(command, ctx):
        summary = below.help.split("\n\n")[0]
        panels.setdefault(below.panel or "Commands", []).append((below.name, " ".join(summary.split())))
    return list(panels.items())


def _argument(parameter: Parameter) -> str:
    name = _metavar(parameter)
    if parameter.takes_many and not name.endswith("..."):
        name += "..."
    return name if parameter.required else f"[{name}]"


def _option(parameter: Parameter) -> str:
    """Return the spellings of an option, and the word for its value."""
    names = ", ".join(sorted(parameter.names, key=len))
    if parameter.negations:
        names += " / " + ", ".join(parameter.negations)
    return f"{names} {_metavar(parameter)}" if parameter.takes_value else names


def _metavar(parameter: Parameter) -> str:
    if parameter.metavar:
        return parameter.metavar
    if (parameter.lowest, parameter.highest) != (None, None):
        return "N"
    return parameter.names[-1].lstrip("-").rpartition("-")[2].upper()


def _describe(parameter: Parameter) -> str:
    """Return the help of a parameter, and in brackets: its choices or bounds, its default, whether it is required."""
    extra = []
    if parameter.choices:
        extra.append(f"one of: {', '.join(parameter.choices)}")
    elif parameter.lowest is not None and parameter.highest is not None:
        extra.append(f"{parameter.lowest} to {parameter.highest}")
    elif parameter.lowest is not None:
        extra.append(f"at least {parameter.lowest}")
    if parameter.default is not None:
        extra.append(f"default: {parameter.default}")
    if parameter.required:
        extra.append("required")
    return f"{parameter.help} [{'; '.join(extra)}]" if extra else parameter.help


def _in_columns(rows: Iterable[Row], left: int, width: int) -> Iterator[str]:
    indent = " " * (_GAP + left + _GAP)
    for name, meaning in rows:
        head = f"{' ' * _GAP}{name}"
        lines = list(_wrap(meaning, max(width - len(indent), 20)))
        if len(name) > left or not lines:
            yield head
        else:
            yield head.ljust(len(indent)) + lines.pop(0)
        yield from (indent + line for line in lines)


def _example(text: str, width: int) -> Iterator[str]:
    """Return a command to copy: where it is longer than the terminal, its lines end in a backslash as in a shell."""
    head, _, command = text.partition(": ")
    yield f"{head}:" if command else head
    lines: list[str] = []
    for part in re.split(" (?=-)", command):  # an option stays with its value
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"{' ' * (4 if lines else 2)}{part}")
    yield from (f"{line} \\" for line in lines[:-1])
    yield from lines[-1:]


def _wrap(text: str, width: int, *, hang: int = 0) -> Sequence[str]:
    """Return the text in lines of at most `width` columns, divided between words; a longer word has its own line."""
    lines: list[str] = []
    for word in re.findall(r"\S+", text):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * (hang if lines else 0) + word)
    return lines
