"""The help of each command on a narrow and on a wide terminal: whole options, whole words, its exit statuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.program import app
from tests.hsm_dicom.cli.conftest import Run, run_program, type_in

WIDTHS = (80, 120)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The program, its groups and its commands, hidden ones too."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
IDS = [" ".join(path) or "hsm-dicom" for path, _ in ALL]


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_help_shows_whole_options_and_words(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], command: Any, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    page = run(*path, "--help").out
    assert "…" not in page
    for line in page.splitlines():
        assert len(line) <= width or len(line.split()) == 1, line
    seen = words(page)
    assert words(command.help.split("\n\n")[0]) in seen
    for parameter in command.params:
        assert words(parameter.help or "") in seen
        for name in [*parameter.opts, *parameter.secondary_opts]:
            if name.startswith("-"):
                assert re.search(rf"(?m)^  .*(?<!\S){name}(?![-\w])", page), name
    for name, below in getattr(command, "commands", {}).items():
        assert below.hidden or words(f"{name} {below.help.split(chr(10) * 2)[0]}") in seen


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_help_lists_the_exit_statuses_of_a_command(run: Run, path: tuple[str, ...], command: Any) -> None:
    page = run(*path, "--help").out
    if hasattr(command, "commands"):
        assert "Exit status:" not in page
        return
    listed = [int(number) for number in re.findall(r"(?m)^  (\d+) +\w", page.partition("Exit status:\n")[2])]
    assert listed == [status for status, _ in exits.statuses_of(path)]
    assert listed[:3] == [exits.OK, exits.FAILED, exits.USAGE]


def test_a_command_that_takes_a_pin_lists_the_status_of_a_refused_one() -> None:
    for path, command in ALL:
        takes_pin = any(name in ("--pin", "--so-pin") for p in command.params for name in p.opts)
        if not hasattr(command, "commands") and takes_pin:
            assert exits.REFUSED in [status for status, _ in exits.statuses_of(path)], path


@pytest.mark.parametrize("width", WIDTHS)
def test_help_of_the_program_on_a_terminal_and_in_a_pipe_is_the_same_page(width: int) -> None:
    terminal = type_in(["key", "generate", "--help"], [], columns=width).out
    piped = run_program("key", "generate", "--help", COLUMNS=str(width)).out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal)
    assert plain == piped
    assert "--always-authenticate " in plain
    assert max(len(line) for line in plain.splitlines()) <= width


def test_an_example_is_a_command_to_copy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    example = run("verify", "--help").out.partition("Example:\n")[2]
    assert example.count("\\\n") == 1
    assert example.replace("\\\n", "").split()[-2:] == ["--require", "creator"]


def test_a_usage_error_is_not_broken_at_the_edge_of_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    value = "a-profile-" * 9
    lines = run("sign", "x", "--in-place", "--profile", value).err.splitlines()
    assert [line for line in lines if value in line]
