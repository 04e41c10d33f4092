"""Adapter for attributes of typer that are not documented; the only module that reads them.

typer builds on click, since 0.26 on a copy of its own, and has choices and bounds in another place since then.
`tests/hsm_dicom/cli/test_typer_seam.py` fails when a newer version moves an attribute again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = [
    "CommandRow",
    "Parameter",
    "TyperCommand",
    "TyperGroup",
    "is_group",
    "is_help_request",
    "list_registered_commands",
    "list_visible_commands",
    "list_visible_parameters",
    "set_classes",
]

_HELP_REQUEST = "NoArgsIsHelpError"
"""Name of the exception by which click and typer show the help of a group that was called without a command."""


@dataclass(frozen=True)
class Parameter:
    """An argument or an option as its declaration describes it."""

    is_option: bool
    names: tuple[str, ...]
    """The spellings of an option; the name of an argument."""
    negations: tuple[str, ...]
    """The spellings that turn a flag off."""
    metavar: str | None
    takes_value: bool
    takes_many: bool
    required: bool
    choices: tuple[str, ...]
    lowest: int | None
    highest: int | None
    default: str | None
    """A default to show: a text or a number."""
    panel: str | None
    help: str


@dataclass(frozen=True)
class CommandRow:
    """A command in the list of its group."""

    name: str
    panel: str | None
    help: str


def is_group(command: Any) -> bool:
    """Return whether a command is a group of commands."""
    return hasattr(command, "commands")


def is_help_request(error: Exception) -> bool:
    """Return whether an exception is click's way to show the help of a group that was called without a command."""
    return type(error).__name__ == _HELP_REQUEST


def list_visible_parameters(command: Any, ctx: Any) -> list[Parameter]:
    """Return the arguments and options of a command that its help shows, in the order of their declaration."""
    return [_parameter(one) for one in command.get_params(ctx) if not getattr(one, "hidden", False)]


def list_visible_commands(group: Any, ctx: Any) -> Iterator[CommandRow]:
    """Yield the commands of a group that its help shows."""
    for name in group.list_commands(ctx) if is_group(group) else []:
        command = group.get_command(ctx, name)
        if not command.hidden:
            yield CommandRow(name, _panel(command), command.help or "")


def list_registered_commands(app: typer.Typer) -> Iterator[Any]:
    """Yield every registered command of an application and its groups, with `callback` and a writable `help`."""
    yield from app.registered_commands
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from list_registered_commands(group.typer_instance)


def set_classes(app: typer.Typer, command: type[TyperCommand], group: type[TyperGroup]) -> None:
    """Make typer build every command and group of an application from these classes."""
    app.info.cls = group
    for registered in app.registered_commands:
        registered.cls = command
    for below in app.registered_groups:
        below.cls = group
        if below.typer_instance is not None:
            set_classes(below.typer_instance, command, group)


def _parameter(parameter: Any) -> Parameter:
    is_option = parameter.param_type_name == "option"
    lowest, highest = _bounds(parameter)
    return Parameter(
        is_option=is_option,
        names=tuple(parameter.opts),
        negations=tuple(parameter.secondary_opts),
        metavar=parameter.metavar,
        takes_value=not (is_option and parameter.is_flag),
        takes_many=parameter.nargs == -1,
        required=parameter.required,
        choices=_choices(parameter),
        lowest=lowest,
        highest=highest,
        default=_default(parameter),
        panel=_panel(parameter),
        help=parameter.help or "",
    )


def _panel(shown: Any) -> str | None:
    panel = getattr(shown, "rich_help_panel", None)
    return panel if isinstance(panel, str) else None


def _choices(parameter: Any) -> tuple[str, ...]:
    """Return the allowed values of a parameter; they are on its type, or since typer 0.26 on its type descriptor."""
    descriptor = getattr(parameter, "type_descriptor", None)
    choices = getattr(descriptor, "choices", None) or getattr(getattr(parameter, "type", None), "choices", None) or ()
    return tuple(str(choice.value if isinstance(choice, Enum) else choice) for choice in choices)


def _bounds(parameter: Any) -> tuple[int | None, int | None]:
    """Return the smallest and the largest allowed number of a parameter, from its type or from itself."""
    holder = parameter if hasattr(parameter, "min") else getattr(parameter, "type", None)
    return getattr(holder, "min", None), getattr(holder, "max", None)


def _default(parameter: Any) -> str | None:
    default = parameter.default
    default = default.value if isinstance(default, Enum) else default
    shown = isinstance(default, str | int) and not isinstance(default, bool) and parameter.show_default
    return str(default) if shown else None
