"""Which configuration file is used, and which is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsm_dicom.config import (
    Configuration,
    ConfigurationError,
    find_configuration,
    load_configuration,
    read_configuration,
)
from hsm_dicom.config.lines import index_lines


def test_without_a_file_the_configuration_is_empty() -> None:
    assert load_configuration(None) == Configuration()


def test_what_is_not_toml_says_where(write) -> None:
    [problem] = read_configuration(write("[tokens.a\n")).problems
    assert (problem.line, problem.text) == (1, "The line that begins a table has no closing bracket.")


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    [problem] = read_configuration(tmp_path / "none.toml").problems
    assert "No such file" in problem.text


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_not_used(write, mode: int) -> None:
    file = write("")
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="may be written by others"):
        load_configuration(file)
    assert read_configuration(file).unsafe


def test_a_file_in_a_folder_that_all_may_write_is_not_used(write, tmp_path: Path) -> None:
    file = write("")
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be replaced by anybody"):
        load_configuration(file)
    tmp_path.chmod(0o1777)
    load_configuration(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(write) -> None:
    file = write("")
    os.chown(file, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        load_configuration(file)


def test_the_file_is_looked_for_in_the_order_that_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSM_DICOM_CONFIG", raising=False)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr("hsm_dicom.config.loading.SYSTEM", system)
    assert find_configuration() is None
    system.touch()
    assert find_configuration() == system
    Path("hsm-dicom.toml").touch()
    assert find_configuration() == Path("hsm-dicom.toml")
    monkeypatch.setenv("HSM_DICOM_CONFIG", "/named/by/environment")
    assert find_configuration() == Path("/named/by/environment")
    assert find_configuration(Path("named")) == Path("named")


def test_lines_are_found_through_quoted_and_dotted_keys() -> None:
    lines = index_lines('[tokens."CT room"]\n"label" = 1 # x\n\n[identities]\nn.token = "a=b"\n  n.id = 2\n')
    assert lines[("tokens", "CT room")] == 1
    assert lines[("tokens", "CT room", "label")] == 2
    assert lines[("identities", "n", "token")] == 5
    assert lines[("identities", "n", "id")] == 6
