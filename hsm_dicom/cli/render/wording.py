"""Wording of help and usage errors: whole paragraphs, without names of Python types or phrases of libraries.

`apply_wording(app)` is called once, after all commands are registered, and applies to all of them.
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
"""Phrases of pydantic, with which typer parses values, and their replacements for users."""


class Command(TyperCommand):
    """Command with this help page and this wording of errors."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `help`, instead of the framed tables of typer, which break words and cut options."""
        formatter.write(help_page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments like `TyperCommand`, but reword the errors about values."""
        with _reword_bad_parameters():
            return super().parse_args(ctx, args)


class Group(TyperGroup):
    """Group of commands with this help page; usage errors in it and in its commands are made printable."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments like `TyperGroup`, with printable errors."""
        with _printable_usage():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Invoke like `TyperGroup`, with printable errors; the arguments of the commands are parsed here."""
        with _printable_usage():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `help`, instead of the framed tables of typer, which break words and cut options."""
        formatter.write(help_page(self, ctx))


def apply_wording(app: typer.Typer) -> None:
    """Give every command of an application its help page and its wording of errors."""
    set_classes(app, Command, Group)
    for command in list_registered_commands(app):
        command.help = paragraphs(inspect.getdoc(command.callback) or "")


def paragraphs(text: str) -> str:
    """Return a docstring without line breaks within paragraphs, which typer keeps after the first paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make the message of a usage error printable: it quotes arguments, which may be names of files."""
    from tokens.errors import Error

    try:
        yield
    except Error:
        raise  # the handler of `main` makes it printable
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str) and not message.isprintable() and not is_help_request(error):
            from tokens.printable import printable

            error.message = printable(message)  # type: ignore[attr-defined]
        raise


@contextmanager
def _reword_bad_parameters() -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        for theirs, ours in _PHRASES:
            error.message = error.message.replace(theirs, ours)
        raise
