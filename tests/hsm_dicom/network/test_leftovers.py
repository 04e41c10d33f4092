"""What a listener that was killed left unfinished is removed at the next start, and nothing else is."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.settings import StorageSettings
from hsm_dicom.network.storage.leftovers import open_part, remove_leftovers

RECEIVING = """
import sys, time
from pathlib import Path
from hsm_dicom.network.storage.leftovers import open_part
path, _ = open_part(Path(sys.argv[1]), "1.2.3")
print(path, flush=True)
time.sleep(60)
"""


def test_a_file_of_a_process_that_was_killed_is_removed_and_one_under_way_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with subprocess.Popen([sys.executable, "-c", RECEIVING, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        assert path.exists()
        assert remove_leftovers(tmp_path) == 0
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    ours, lock = open_part(tmp_path, "1.2.3")
    with caplog.at_level(logging.WARNING, "hsm_dicom.network"):
        Receiver("main", StorageSettings(folder=tmp_path))
    assert list(tmp_path.iterdir()) == [ours]
    assert f"main: removed unfinished files of an earlier run in {tmp_path}: 1." in caplog.text
    os.close(lock)


@pytest.mark.parametrize("name", ["1.2.3.dcm", ".profile.part", ".1.2.part", "1.2.3.17.1.part", ".a.b.17.1.part"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"kept")
    assert remove_leftovers(tmp_path) == 0
    assert (tmp_path / name).exists()


def test_a_link_with_such_a_name_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    link = tmp_path / ".1.2.3.17.1.part"
    link.symlink_to(target)
    assert remove_leftovers(tmp_path) == 0
    assert target.read_bytes() == b"kept"


def test_a_new_file_is_not_lost_to_somebody_who_cleans_up_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock, lost = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not lost:
            lost.extend(tmp_path.iterdir())
            lost[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    path, descriptor = open_part(tmp_path, "1.2.3")
    os.close(descriptor)
    assert path.exists()
    assert path not in lost
