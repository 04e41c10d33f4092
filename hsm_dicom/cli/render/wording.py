"""How help and usage errors read: in whole paragraphs, without Python's names of types or its libraries' phrases.

`word(app)` is called once, when all commands are there, so that no command has to think of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_PHRASES = (("Value error, ", ""), ("Input should be", "The value should be"))
"""What pydantic, by which typer reads values, says to developers; and what a person is told instead."""


class Command(TyperCommand):
    """A command, worded so."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, their types shown as a person would name them."""
        return _plainly_typed(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever; what is wrong with a value is said in our words."""
        with _in_our_words():
            return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group of commands, likewise. What is typed wrong in it, or in a command below it, is shown printable."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever."""
        with _printable_usage():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As ever; the commands below are parsed in here."""
        with _printable_usage():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, their types shown as a person would name them."""
        return _plainly_typed(super().get_params(ctx))


def word(app: typer.Typer) -> None:
    """Give every command below `app` its words."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
        command.help = paragraphs(inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        group.cls = Group
        if group.typer_instance is not None:
            word(group.typer_instance)


def paragraphs(text: str) -> str:
    """A docstring without the line breaks of its source: typer keeps those after the first paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _plainly_typed(parameters: Sequence[Any]) -> list[Any]:
    for parameter in parameters:
        # Older versions of typer show no types of Python's, and have no such method.
        shown = getattr(parameter, "display_type_rich", None)
        if shown is not None and not isinstance(shown, partial):
            parameter.display_type_rich = partial(_plain_type, shown)
    return list(parameters)


def _plain_type(shown: Any, ctx: Any) -> str | None:
    """A metavar or a choice as it is; N for a number; nothing for a text, a path or a flag."""
    name: str | None = shown(ctx=ctx)
    if name is None or not name.startswith("<"):
        return name
    if "|" in name:
        return re.sub(r"list\[(.*)\]", r"\1", name)
    return "N" if "int" in name or "float" in name else None


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make the message of a usage error printable: it quotes arguments, which may be names of files."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str) and not message.isprintable():
            from tokens.printable import printable

            error.message = printable(message)  # type: ignore[attr-defined]
        raise


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        for theirs, ours in _PHRASES:
            error.message = error.message.replace(theirs, ours)
        raise
