"""The help page of a command: plain text in columns, in which no word, option or path is ever broken.

Two columns: names on the left, what they mean on the right. A name that is longer than its column stands on a line of
its own, and its description begins on the next one. Lines are divided between words only, so that an option that is
longer than the terminal runs over its edge instead of losing its end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import typer

from hsm_dicom.cli import exits

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
    statuses = exits.statuses_of(path) if not hasattr(command, "commands") else []
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
    words = ["[OPTIONS]", *(_argument(parameter) for parameter in _shown(command, ctx, "argument"))]
    if hasattr(command, "commands"):
        words += ["COMMAND", "[ARGS]..."]
    head = f"Usage: {ctx.command_path} "
    return "\n".join(_filled(head + " ".join(words), width, hang=len(head)))


def _paragraphs(text: str, width: int) -> list[str]:
    return ["\n".join(_filled(" ".join(part.split()), width)) for part in text.split("\n\n") if part.strip()]


def _parameter_sections(command: Any, ctx: Any) -> list[tuple[str, list[Row]]]:
    """Return the arguments, then the options by panel: a command's own, its further panels, those that many share."""
    arguments = [(_metavar(p), _described(p, ctx)) for p in _shown(command, ctx, "argument")]
    panels: dict[str, list[Row]] = {}
    for option in _shown(command, ctx, "option"):
        panel = getattr(option, "rich_help_panel", None) or _FIRST
        panels.setdefault(panel, []).append((_option(option), _described(option, ctx)))
    order = sorted(panels, key=lambda panel: (panel == _LAST, panel != _FIRST))
    return [("Arguments", arguments), *((panel, panels[panel]) for panel in order)]


def _command_sections(command: Any, ctx: Any) -> list[tuple[str, list[Row]]]:
    panels: dict[str, list[Row]] = {}
    for name in command.list_commands(ctx) if hasattr(command, "commands") else []:
        below = command.get_command(ctx, name)
        if not below.hidden:
            panel = getattr(below, "rich_help_panel", None) or "Commands"
            summary = (below.help or "").split("\n\n")[0]
            panels.setdefault(panel, []).append((name, " ".join(summary.split())))
    return list(panels.items())


def _shown(command: Any, ctx: Any, kind: str) -> list[Any]:
    return [p for p in command.get_params(ctx) if p.param_type_name == kind and not getattr(p, "hidden", False)]


def _argument(parameter: Any) -> str:
    name = _metavar(parameter)
    if parameter.nargs == -1 and not name.endswith("..."):
        name += "..."
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    """Return the spellings of an option, and the word for its value."""
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        names += " / " + ", ".join(parameter.secondary_opts)
    return names if parameter.is_flag else f"{names} {_metavar(parameter)}"


def _metavar(parameter: Any) -> str:
    name: str = parameter.metavar or ("N" if _bounds(parameter) != (None, None) else parameter.opts[-1])
    return name if parameter.metavar else name.lstrip("-").rpartition("-")[2].upper()


def _described(parameter: Any, ctx: Any) -> str:
    """Return the help of a parameter, and in brackets: its choices or bounds, its default, whether it is required."""
    extra = []
    choices, (lowest, highest) = _choices(parameter, ctx), _bounds(parameter)
    if choices:
        extra.append(f"one of: {', '.join(choices)}")
    elif lowest is not None and highest is not None:
        extra.append(f"{lowest} to {highest}")
    elif lowest is not None:
        extra.append(f"at least {lowest}")
    default = parameter.default
    default = default.value if isinstance(default, Enum) else default
    if isinstance(default, str | int) and not isinstance(default, bool) and parameter.show_default:
        extra.append(f"default: {default}")
    if parameter.required:
        extra.append("required")
    return f"{parameter.help or ''} [{'; '.join(extra)}]" if extra else parameter.help or ""


def _choices(parameter: Any, ctx: Any) -> list[str]:
    """Return the values that a parameter takes. Typer keeps them on the parameter's type, or since 0.26 beside it."""
    descriptor = getattr(parameter, "type_descriptor", None)
    choices = getattr(descriptor, "choices", None) or getattr(getattr(parameter, "type", None), "choices", None) or ()
    return [str(choice.value if isinstance(choice, Enum) else choice) for choice in choices]


def _bounds(parameter: Any) -> tuple[int | None, int | None]:
    """Return the least and the greatest number that a parameter takes; likewise."""
    holder = parameter if hasattr(parameter, "min") else getattr(parameter, "type", None)
    return getattr(holder, "min", None), getattr(holder, "max", None)


def _in_columns(rows: Iterable[Row], left: int, width: int) -> Iterator[str]:
    indent = " " * (_GAP + left + _GAP)
    for name, meaning in rows:
        head = f"{' ' * _GAP}{name}"
        lines = list(_filled(meaning, max(width - len(indent), 20)))
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


def _filled(text: str, width: int, *, hang: int = 0) -> Sequence[str]:
    """Return the text in lines of at most `width` columns, divided between words; a longer word has its own line."""
    lines: list[str] = []
    for word in re.findall(r"\S+", text):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * (hang if lines else 0) + word)
    return lines
