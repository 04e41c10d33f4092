"""How help and usage errors read: in whole paragraphs, without Python's names of types or its libraries' phrases.

`apply_wording(app)` is called once, when all commands are there, so that no command has to think of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from hsm_dicom.cli.render._typer import (
    TyperCommand,
    TyperGroup,
    is_help_request,
    list_registered_commands,
    set_classes,
)
from hsm_dicom.cli.render.help import help_page

_PHRASES = (("Value error, ", ""), ("Input should be", "The value should be"))
"""What pydantic, by which typer reads values, says to developers; and what a person is told instead."""


class Command(TyperCommand):
    """A command, worded so."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `help`, instead of the framed tables of typer, which break words and cut options."""
        formatter.write(help_page(self, ctx))

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

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `help`, instead of the framed tables of typer, which break words and cut options."""
        formatter.write(help_page(self, ctx))


def apply_wording(app: typer.Typer) -> None:
    """Give every command below `app` its words."""
    set_classes(app, Command, Group)
    for command in list_registered_commands(app):
        command.help = paragraphs(inspect.getdoc(command.callback) or "")


def paragraphs(text: str) -> str:
    """A docstring without the line breaks of its source: typer keeps those after the first paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make the message of a usage error printable: it quotes arguments, which may be names of files."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str) and not message.isprintable() and not is_help_request(error):
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
