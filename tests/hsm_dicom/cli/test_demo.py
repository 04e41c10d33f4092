"""`hsm-dicom demo`, as a program of its own: it makes its own SoftHSM."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from tests.hsm_dicom.cli.conftest import Result, image, run_program, type_in
from tests.hsm_dicom.cli.test_output import seen

pytestmark = pytest.mark.softhsm


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("demo") / "demonstration"
    done = type_in(["demo", "--dir", folder], [])
    return folder, Result(done.status, "\n".join(seen(done.out)), done.err)


def test_the_demo_shows_each_step(kept: tuple[Path, Result]) -> None:
    _, result = kept
    assert result.status == exits.OK
    assert result.err == ""
    for words in (
        "of a prime: refused",
        "cannot be exported",
        "✓ CT image: valid",
        "✓ structured report: valid",
        "byte 930: 43 'C' became 42 'B'",
        "✗ invalid, because what is covered is not what was signed",
        "dcmsign says OK",
        "✗ forged CT: dcmsign says no",
        "signatures/s",
    ):
        assert words in result.said
    assert result.said.count("exit status 101") == 2, "hsm-dicom's and dcmsign's, of the changed object"


def test_it_reads_well_in_80_columns(kept: tuple[Path, Result]) -> None:
    _, result = kept
    told = [line for line in result.out.splitlines() if not line.startswith("    $ ") and "/" not in line]
    assert max(map(len, told)) <= 80


def test_what_it_says_to_type_next_works(kept: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, result = kept
    commands = [line.strip().removeprefix("$ ") for line in result.out.splitlines() if line.startswith("    $ ")]
    following = commands[commands.index(f"cd {folder}") + 1 :]
    monkeypatch.chdir(folder)
    (folder / "YOUR.dcm").write_bytes(image("MR_small.dcm").read_bytes())
    export, *ours = following[:4]
    environment = {"SOFTHSM2_CONF": export.partition("=")[2]}
    for command in ours:
        program, *arguments = shlex.split(command)
        assert program == "hsm-dicom"
        done = run_program(*arguments, **environment)
        assert done.status == exits.OK, (command, done)


def test_pins_are_in_files_for_their_owner_only_and_nowhere_else(kept: tuple[Path, Result]) -> None:
    folder, result = kept
    for name in ("user.pin", "so.pin"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
        pin = (folder / name).read_text()
        assert len(pin) >= 12
        assert pin not in result.out + (folder / "events.jsonl").read_text() + (folder / "hsm-dicom.toml").read_text()


def test_each_use_of_the_key_was_recorded(kept: tuple[Path, Result]) -> None:
    folder, _ = kept
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events.count("ceremony-step") == 3
    assert events.count("key-use") > 5


def test_without_a_folder_nothing_is_left_behind(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environment = {"HOME": str(home), "TMPDIR": str(temporary), "HSM_DICOM_STATE": str(tmp_path / "state")}
    result = run_program("demo", **environment)
    assert result.status == exits.OK
    assert re.search(r"which is removed at the end", result.said)
    assert [*home.iterdir(), *temporary.iterdir()] == []
    assert not (tmp_path / "state").exists()


def test_a_folder_with_something_in_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    result = run_program("demo", "--dir", tmp_path)
    assert result.status == exits.FAILED
    assert "is not empty" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_dcmsign_the_rest_is_reported(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "mkdir", "dirname"):
        (programs / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    result = run_program("demo", PATH=str(programs))
    assert result.status == exits.OK
    assert "apt-get install dcmtk" in result.said


def test_an_error_that_names_a_folder_with_a_line_break_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "a\nb"
    folder.mkdir()
    (folder / "mine").touch()
    result = run_program("demo", "--dir", folder)
    assert result.status == exits.FAILED
    assert "is not empty" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.browser
def test_the_gateway_is_shown_with_a_picture(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    result = run_program("demo", "gateway", "--sign", "--dir", folder)
    assert result.status == exits.OK, result
    for words in (
        "✗ The PACS rejects the CT's connection.",
        "✓ The PACS stored 3 objects, received over TLS from the gateway.",
        ": signed by CN=Received by the gateway, and dcmsign agrees.",
        "✗ Association rejected: Calling AE Title Not Recognized.",
        "instances: stored 3",
        "✓ The gateway has stopped.",
    ):
        assert words in result.said
    assert len(list((folder / "PACS").iterdir())) == 3
    assert not list((folder / "held").glob(".*.part"))
    assert (folder / "status.png").read_bytes().startswith(b"\x89PNG")
