"""The file that a target's name stands for: relative, behind links, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError, TargetExistsError, WriteRefusedError
from hsm_dicom.dataset.rewrite import write_edited
from tests.hsm_dicom.dataset.samples import sample


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.dcm"
    path.write_bytes(sample())
    return path


def copy(source: Path, target: Path | str, *, overwrite: bool = False) -> None:
    with DicomFile.open(source) as file:
        write_edited(file, [], target, overwrite=overwrite)


def test_a_relative_name_is_that_of_a_file_in_the_working_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(source, "copy.dcm")
    assert (tmp_path / "copy.dcm").read_bytes() == source.read_bytes()


def test_a_parent_behind_a_link_is_that_of_the_folder_which_the_link_points_to(source: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "folder")
    copy(source, f"{tmp_path}/link/../copy.dcm")
    assert (tmp_path / "far" / "copy.dcm").exists()
    assert not (tmp_path / "copy.dcm").exists()


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(source: Path, tmp_path: Path) -> None:
    behind, link = tmp_path / "elsewhere" / "behind.dcm", tmp_path / "link.dcm"
    behind.parent.mkdir()
    behind.write_bytes(b"old")
    link.symlink_to("elsewhere/behind.dcm")
    with pytest.raises(TargetExistsError):
        copy(source, link)
    copy(source, link, overwrite=True)
    assert link.is_symlink()
    assert behind.read_bytes() == source.read_bytes()


def test_a_link_to_nothing_gets_its_file(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.dcm"
    link.symlink_to("new.dcm")
    copy(source, link)
    assert link.is_symlink()
    assert (tmp_path / "new.dcm").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", ["", "."])
def test_a_folder_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WriteRefusedError, match="not a regular file"):
        copy(source, name, overwrite=True)


def test_a_name_that_ends_with_a_slash_is_no_file(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DicomFileError, match="cannot be written"):
        copy(source, f"{tmp_path}/new/")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_to_itself_is_no_file(source: Path, tmp_path: Path, overwrite: bool) -> None:
    link = tmp_path / "link.dcm"
    link.symlink_to("link.dcm")
    with pytest.raises(DicomFileError, match="cannot be written: Too many levels of symbolic links"):
        copy(source, link, overwrite=overwrite)
    assert link.is_symlink()


def test_a_working_folder_that_is_gone_matters_to_a_relative_name_only(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    copy(source, tmp_path / "copy.dcm")
    with pytest.raises(DicomFileError, match="cannot be written: No such file or directory"):
        copy(source, "copy.dcm")
