"""Several files that are published together: flushed at the same time, each before it takes its place."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.rewrite import FLUSHES_AT_ONCE, StagedFile, publish
from tests.hsm_dicom.dataset.samples import sample

FILES = 6


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[list[StagedFile]]:
    """Copies of one object, ready to be published."""
    source = tmp_path / "source.dcm"
    source.write_bytes(sample())
    with ExitStack() as stack:
        file = stack.enter_context(DicomFile.open(source))
        yield [stack.enter_context(StagedFile(file, [], tmp_path / f"{n}.dcm")) for n in range(FILES)]


def numbers_of(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.dcm") if path.stem != "source")


def is_folder(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").is_dir()


def test_files_are_flushed_at_the_same_time_and_none_takes_its_place_before(
    staged: list[StagedFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the barrier, as many flushes must meet as are allowed at once."""
    barrier = threading.Barrier(FLUSHES_AT_ONCE, timeout=30)
    flush, flushed, seen = os.fsync, [], []

    def meet(fd: int) -> None:
        if not is_folder(fd):
            if len(flushed) < FLUSHES_AT_ONCE:
                flushed.append(fd)
                barrier.wait()
            seen.append(numbers_of(tmp_path))
        else:
            seen.append(["folder", *numbers_of(tmp_path)])
        flush(fd)

    monkeypatch.setattr(os, "fsync", meet)
    assert publish(staged) == [None] * FILES
    assert seen == [[]] * FILES + [["folder", *map(str, range(FILES))]]


def test_writing_starts_for_all_files_before_the_first_is_flushed(
    staged: list[StagedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the advice has no effect."""
    flush, seen = os.fsync, []

    def advise(fd: int, *_: int) -> None:
        seen.append(("start", fd))
        raise OSError(22, "Invalid argument")

    def note(fd: int) -> None:
        if not is_folder(fd):
            seen.append(("flush", fd))
        flush(fd)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(os, "fsync", note)
    assert publish(staged) == [None] * FILES
    assert seen[:FILES] == [("start", file._fd) for file in staged]
    assert sorted(seen[FILES:]) == sorted(("flush", file._fd) for file in staged)


def test_a_file_that_cannot_be_flushed_leaves_the_others(
    staged: list[StagedFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, broken = os.fsync, staged[2]._fd

    def fail(fd: int) -> None:
        if fd == broken:
            raise OSError(28, "No space left on device")
        flush(fd)

    monkeypatch.setattr(os, "fsync", fail)
    errors = publish(staged)
    assert [number for number, error in enumerate(errors) if error] == [2]
    assert "No space left on device; nothing was changed" in str(errors[2])
    assert numbers_of(tmp_path) == ["0", "1", "3", "4", "5"]


def test_an_error_that_no_file_explains_publishes_nothing(
    staged: list[StagedFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("not an error of the file system")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RuntimeError, match="not an error of the file system"):
        publish(staged)
    assert numbers_of(tmp_path) == []
