"""How many files are given to one task of a run over many files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom import parallel
from hsm_dicom.parallel import BYTES_PER_TASK, FILES_PER_TASK, chunks


def sizes_of_tasks(things: list[str]) -> list[int]:
    return [len(chunk) for chunk in chunks(things, str)]


def test_no_task_is_longer_than_its_share_of_the_files_before() -> None:
    sizes = sizes_of_tasks(["not there"] * 1000)
    assert sum(sizes) == 1000
    assert sizes[0] == 16
    assert max(sizes) == FILES_PER_TASK
    for number, size in enumerate(sizes):
        assert size <= max(16, sum(sizes[:number]) // 4)


def test_every_thing_is_in_one_task_in_its_order() -> None:
    things = [str(number) for number in range(333)]
    assert [thing for chunk in chunks(things, str) for thing in chunk] == things


def test_large_files_are_not_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BYTES_PER_TASK", BYTES_PER_TASK >> 20)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    large.write_bytes(bytes(64))
    assert sizes_of_tasks([str(small), str(large), str(large), str(small)]) == [1, 1, 1, 1]
    assert sizes_of_tasks([str(small)] * 5) == [5]
