"""What stands on a terminal, and in a file: a result is one line, whole, and no bar runs through it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.render.output import facts, outcome, say
from tests.hsm_dicom.cli.conftest import Node, image, run_program, type_in
from tests.softhsm import TestToken

TOKEN = re.compile(r"\x1b\[\??(\d*)[0-9;]*([A-Za-z])|(.|\n)")
LONG = "a-folder-whose-name-is-longer-than-a-terminal-is-wide-" * 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve files without a signature and one that is no object, under a name that fits into no terminal."""
    place = tmp_path / LONG
    place.mkdir()
    for number in range(12):
        shutil.copy(image(), place / f"{number:02}.dcm")
    (place / "text.dcm").write_text("no object")
    return place


def seen(raw: str, columns: int = 80) -> list[str]:
    """The lines that stay on a terminal: one that knows carriage return, line feed, cursor up, and erasure of a line.

    A line that was too long for the terminal, and so went on in the next row, is one line.
    """
    rows: list[list[str]] = [[]]
    continued: set[int] = set()
    row = column = 0
    for match in TOKEN.finditer(raw):
        count, command, character = match[1], match[2], match[3]
        if command == "A":
            row -= int(count or 1)
        elif command == "K":
            rows[row] = []
        elif character == "\r":
            column = 0
        elif character == "\n":
            row, column = row + 1, 0
        elif character:
            if column == columns:
                row, column = row + 1, 0
                continued.add(row)
            while len(rows) <= row:
                rows.append([])
            rows[row] += " " * (column + 1 - len(rows[row]))
            rows[row][column] = character
            column += 1
        while len(rows) <= row:
            rows.append([])
    lines: list[str] = []
    for number, cells in enumerate(rows):
        if number in continued:
            lines[-1] += "".join(cells)
        else:
            lines.append("".join(cells))
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("brief", ["--brief", "--full"])
def test_results_of_many_files_stand_above_the_bar_in_a_terminal(folder: Path, brief: str) -> None:
    done = type_in(["verify", folder, brief], [])
    assert done.status == exits.FAILED
    assert "Verifying" in done.out, "there was a bar"
    lines = seen(done.out)
    for number in range(12):
        name = f"{folder}/{number:02}.dcm"
        wanted = f"✗ {name}: Not signed" if brief == "--brief" else name
        assert len([line for line in lines if line.startswith(wanted)]) == 1
    assert any(line.startswith(f"hsm-dicom: {folder}/text.dcm: not a DICOM file") for line in lines)
    assert not any("NO " in line or "Verifying" in line or "━" in line for line in lines)


def test_signing_many_files_in_a_terminal_names_what_failed(signing_node: Node, folder: Path, tmp_path: Path) -> None:
    config = ("--config", signing_node.config, "--identity", "node")
    done = type_in(["sign", folder, "--out-dir", tmp_path / "out", *config], [])
    assert done.status == exits.FAILED
    lines = seen(done.out)
    assert any(line.startswith(f"hsm-dicom: {folder}/text.dcm: not a DICOM file") for line in lines)
    assert any(line.startswith("✗ 12 files signed, 1 failed") for line in lines)


def test_in_a_pipe_each_result_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    done = run_program("verify", folder, "--brief")
    results = done.out.splitlines()
    assert len([line for line in results if line.startswith(f"✗ {folder}/")]) == 12
    block = run_program("verify", folder / "00.dcm").out.splitlines()
    assert block[0] == f"{folder}/00.dcm"
    assert [line for line in block if line.endswith("nothing in it is protected by a signature.")]


def test_columns_of_the_environment_do_not_wrap_what_is_redirected(token: TestToken, redirected: str) -> None:
    """A shell may export COLUMNS: a result in a pipe is one line all the same."""
    narrow, wide = (run_program("token", "info", token.uri(), COLUMNS=columns).out for columns in ("40", "400"))
    assert len(narrow.splitlines()) == len(wide.splitlines())
    for text in (narrow, redirected):
        assert max(map(len, text.splitlines())) > 60


@pytest.fixture(scope="module")
def redirected(node: TestToken) -> str:
    """What `token check` writes into a pipe where COLUMNS is exported. It measures for seconds, so it runs once."""
    return run_program("token", "check", node.uri(), COLUMNS="40").out


def test_a_reason_does_not_widen_the_columns_of_a_table_in_a_pipe(redirected: str) -> None:
    lines = redirected.splitlines()
    (place,) = [place for place, line in enumerate(lines) if "OAEP decryption, SHA256" in line]
    assert lines[place].split()[-3:] == ["does", "not", "work:"]
    assert len(lines[place + 1].strip()) > 60
    assert max(len(line) for line in lines if " decryption" in line or "PKCS #1 v1.5, SHA256" in line) < 120


def test_on_a_terminal_no_word_of_a_table_is_divided(node: TestToken, redirected: str) -> None:
    narrow = type_in(["token", "check", node.uri()], [], columns=60).out
    shown = set(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", narrow).split())
    table = [line for line in redirected.splitlines() if line.startswith(("✓", "✗"))]
    assert len(table) > 5
    for line in table:
        assert {word for word in line.split() if not word.startswith("'check-")} <= shown, line


def test_no_word_is_divided(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    words = "and these are words enough for more than one line of a terminal"
    say("see", " ", (LONG, "bold"), " ", words)
    outcome(True, f"{LONG} is signed {words}.", indent=2)
    facts([("file", f"{LONG} {words}")])
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert out.count(LONG) == 3
    assert f"✓ {LONG}\n" in out
    assert max(len(line) for line in out.replace(LONG, "").splitlines()) <= 40
    assert " ".join(out.split()).count(words) == 3
