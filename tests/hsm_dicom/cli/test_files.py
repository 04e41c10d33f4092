"""Which files a command works on: what is left out of a folder is named, and the exit status says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.files import expand
from tests.hsm_dicom.cli.conftest import Node, Run, image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    shutil.copy(image(), place / "ct.dcm")
    return place


@pytest.fixture
def unreadable(folder: Path) -> Iterator[str]:
    """The name of a folder that nobody can list, root neither: its path is longer than the system takes."""
    names = [letter * 250 for letter in "abcdefghijklmnopqr"]
    here = os.open(folder, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield names[-3][:50]
    shutil.rmtree(folder / names[0])


@pytest.fixture
def sign(run: Run, signing_node: Node):
    def command(*arguments: object):
        return run("sign", *arguments, "--config", signing_node.config, "--identity", "node")

    return command


def test_a_folder_that_cannot_be_read_is_named_and_fails(
    run: Run, sign, signing_node: Node, folder: Path, unreadable: str, tmp_path: Path
) -> None:
    signed = sign(folder, "--out-dir", tmp_path / "out")
    assert signed.status == exits.FAILED
    assert "1 file signed, 1 failed" in signed.said
    assert unreadable in signed.err
    assert "the folder cannot be read (File name too long), so its files are left out" in signed.err
    in_json = sign(folder, "--out-dir", tmp_path / "out", "--json", "--resume").lines
    assert [line["error"]["kind"] for line in in_json if "error" in line] == ["FolderError"]
    shutil.copy(tmp_path / "out" / "ct.dcm", folder / "ct.dcm")
    verified = run("verify", folder, "--trust", signing_node.trust)
    assert verified.status == exits.FAILED
    assert "the folder cannot be read" in verified.err
    listed = run("signatures", "list", folder)
    assert listed.status == exits.FAILED
    assert "the folder cannot be read" in listed.err


def test_a_linked_folder_is_named_and_fails(run: Run, sign, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(image(), elsewhere / "linked.dcm")
    (folder / "link").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder)
    (folder / "file-link.dcm").symlink_to(elsewhere / "linked.dcm")
    result = sign(folder, "--out-dir", tmp_path / "out")
    assert result.status == exits.FAILED
    assert "2 files signed, 2 failed" in result.said
    assert f"{folder / 'link'}: is a link to a folder, which is not followed" in result.err
    assert "name the folder itself as well" in result.err
    verified = run("verify", tmp_path / "out", folder)
    assert f"{folder / 'circle'}: is a link to a folder" in verified.err
    # Named itself, a link to a folder is a folder.
    assert sign(folder / "link", "--out-dir", tmp_path / "out").status == exits.OK


def test_a_pattern_that_matches_nothing_fails(run: Run, sign, folder: Path, tmp_path: Path) -> None:
    result = sign(folder, "--out-dir", tmp_path / "out", "--only", "*.DCM")
    assert result.status == exits.FAILED
    assert f"{folder}: no file below this folder matches --only '*.DCM'." in result.err
    assert not (tmp_path / "out").exists()
    assert run("verify", folder, "--only", "x*").status == exits.FAILED
    assert run("verify", folder, "--only", "").status == exits.USAGE


def test_patterns_match_names_and_places(folder: Path) -> None:
    (folder / "deeper").mkdir()
    shutil.copy(image(), folder / "deeper" / "mr.dcm")
    (folder / ".ct.dcm.0123abcd.part").touch()
    (folder / ".part").touch()

    def below(only: str | None) -> list[str]:
        return [item.below.as_posix() for item in expand([folder], only).inputs]

    assert below(None) == [".part", "ct.dcm", "deeper/mr.dcm"]
    assert below("*.dcm") == ["ct.dcm", "deeper/mr.dcm"]
    assert below("deeper/*") == ["deeper/mr.dcm"]


@pytest.mark.parametrize("where", [".", "signed", "signed/deeper"])
def test_results_do_not_go_into_an_input_folder(run: Run, sign, folder: Path, where: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for out_dir in (folder / where, tmp_path / "link" / where):
        for refused in (
            sign(folder, "--out-dir", out_dir),
            run("signatures", "remove-all", folder, "--out-dir", out_dir),
        ):
            assert refused.status == exits.USAGE
            assert "the next run would take these results for input" in " ".join(refused.err.replace("│", " ").split())
    assert [path.name for path in folder.iterdir()] == ["ct.dcm"]
