"""typer still describes commands where `hsm_dicom/cli/render/_typer.py` reads them."""

from __future__ import annotations

from enum import Enum
from importlib.metadata import version
from typing import Annotated, Any

import pytest
import typer

from hsm_dicom.cli.render import _typer as seam

CHANGED = f"typer {version('typer')} describes its commands in another way: adapt hsm_dicom/cli/render/_typer.py"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def application() -> typer.Typer:
    app, group = typer.Typer(), typer.Typer()

    @group.command()
    def paint(
        files: Annotated[list[str], typer.Argument(metavar="FILE...", help="What to paint.")],
        colour: Annotated[Colour, typer.Option("--colour", "-c", help="Its colour.")] = Colour.RED,
        coats: Annotated[int, typer.Option(min=1, max=9, rich_help_panel="Paint")] = 2,
        dry: Annotated[bool, typer.Option("--dry/--wet")] = True,
        secret: Annotated[str | None, typer.Option(hidden=True)] = None,
    ) -> None:
        """Paint files."""

    @group.command(hidden=True)
    def strip() -> None:
        """Take the paint off."""

    app.add_typer(group, name="work")
    return app


def described(app: typer.Typer) -> tuple[Any, Any, Any]:
    """The group, its command, and a context."""
    top = typer.main.get_command(app)
    group = top if "paint" in getattr(top, "commands", {}) else top.commands["work"]  # type: ignore[attr-defined]
    context = group.make_context("work", ["paint", "x"], resilient_parsing=True)
    return group, group.commands["paint"], context


def test_each_parameter_is_read_as_it_was_declared() -> None:
    _, paint, context = described(application())
    try:
        shown = {parameter.names[-1]: parameter for parameter in seam.list_visible_parameters(paint, context)}
    except AttributeError as error:
        pytest.fail(f"{CHANGED} ({error}).")
    files, colour, coats, dry = shown["files"], shown["-c"], shown["--coats"], shown["--dry"]
    assert "--secret" not in shown, CHANGED
    assert (files.is_option, files.metavar, files.takes_many, files.required) == (False, "FILE...", True, True), CHANGED
    assert files.help == "What to paint.", CHANGED
    assert (colour.names, colour.choices, colour.default) == (("--colour", "-c"), ("red", "blue"), "red"), CHANGED
    assert (coats.lowest, coats.highest, coats.default, coats.panel) == (1, 9, "2", "Paint"), CHANGED
    assert (dry.takes_value, dry.negations, dry.default) == (False, ("--wet",), None), CHANGED


def test_hidden_commands_are_not_listed() -> None:
    group, paint, context = described(application())
    assert [(row.name, row.help) for row in seam.list_visible_commands(group, context)] == [
        ("paint", "Paint files.")
    ], CHANGED
    assert (seam.is_group(group), seam.is_group(paint)) == (True, False), CHANGED


def test_the_classes_of_commands_and_groups_are_ours() -> None:
    class Command(seam.TyperCommand):
        pass

    class Group(seam.TyperGroup):
        pass

    app = application()
    seam.set_classes(app, Command, Group)
    group, paint, _ = described(app)
    assert (type(group), type(paint)) == (Group, Command), CHANGED
    assert [command.callback.__name__ for command in seam.list_registered_commands(app)] == ["paint", "strip"], CHANGED


def test_a_group_without_a_command_asks_for_its_help() -> None:
    app = application()
    app.info.no_args_is_help = True
    with pytest.raises(Exception) as raised:  # noqa: PT011 click has the class, or the copy of it in typer
        typer.main.get_command(app).main([], standalone_mode=False)
    assert seam.is_help_request(raised.value), f"{CHANGED}: it raises {raised.value!r}."
