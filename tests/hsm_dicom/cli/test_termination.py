"""A command that is told to end, or is killed, leaves no half files and no processes behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hsm_dicom.dataset import rewrite
from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.rewrite import StagedFile
from hsm_dicom.signatures.listing import list_signatures
from tests.hsm_dicom.cli.conftest import PROGRAM, Node, image

FILES = 600
PADDING = 300 << 10
"""Bytes that each file is made longer by, so that the disk is busy with it."""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Files that are hard links to one image."""
    folder = tmp_path / "many"
    folder.mkdir()
    content = image().read_bytes()
    at = content.rindex(b"\xfc\xff\xfc\xffOB")  # its trailing padding is made longer
    padding = b"\xfc\xff\xfc\xffOB\0\0" + PADDING.to_bytes(4, "little") + bytes(PADDING)
    (folder / "0.dcm").write_bytes(content[:at] + padding)
    for number in range(1, FILES):
        (folder / f"{number}.dcm").hardlink_to(folder / "0.dcm")
    return folder


@contextmanager
def running(node: Node, many: Path, out: Path, jobs: int) -> Iterator[subprocess.Popen[str]]:
    """`sign` in a session of its own, at a time when it has written some files and not all."""
    arguments = ("sign", many, "--out-dir", out, "--config", node.config, "--identity", "node", "--jobs", jobs)
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: out.exists() and any(path.suffix == ".dcm" for path in out.iterdir()))
        yield process
    finally:
        end_session(process)


def end_session(process: subprocess.Popen[str]) -> None:
    """Kill all that is left, so that a test that fails leaves nothing behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def session_members(session: int) -> list[str]:
    """The living processes of a session, by the names that the system has for them."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(f"{name}) {state}")
    return found


def whole_files(out: Path) -> int:
    """How many files are there; all must be whole, and nothing else may be there."""
    written = list(out.iterdir())
    assert {path.suffix for path in written} == {".dcm"}
    assert all(len(list_signatures(path)) == 1 for path in written)
    return len(written)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_whole_files_only(
    signing_node: Node, many: Path, tmp_path: Path, jobs: int, number: signal.Signals
) -> None:
    with running(signing_node, many, tmp_path / "out", jobs) as process:
        os.killpg(process.pid, number)  # as a service manager does, to all processes
        said, complained = process.communicate(timeout=30)
    assert process.returncode == -number
    counted = re.search(r"(\d+) files signed in", said)
    assert counted, said
    assert complained.strip() == "hsm-dicom: interrupted; run the command again with --resume to continue."
    assert whole_files(tmp_path / "out") == int(counted[1]) < FILES
    events = (signing_node.folder / "events.jsonl").read_text()
    assert events.count('"signature-made"') == int(counted[1])
    wait_for(lambda: session_members(process.pid) == [])  # Python's resource tracker ends when its parent has ended


def test_workers_end_with_a_parent_that_is_killed(signing_node: Node, many: Path, tmp_path: Path) -> None:
    with running(signing_node, many, tmp_path / "out", 2) as process:
        assert len(session_members(process.pid)) >= 3
        process.kill()
        process.wait()
        wait_for(lambda: session_members(process.pid) == [])
    assert whole_files(tmp_path / "out") < FILES


def test_idle_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Nothing is on its way to them that could fail."""
    code = (
        "import time\n"
        "from hsm_dicom.cli.runs.workers import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers(2) as executor:\n"
        "        print([executor.submit(abs, -1).result() for _ in range(9)], flush=True)\n"
        "        time.sleep(60)\n"
    )
    script = tmp_path / "idle.py"
    script.write_text(code)
    process = subprocess.Popen(
        [PROGRAM[0], str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=Path.cwd()
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        wait_for(lambda: session_members(process.pid) == [])
    finally:
        end_session(process)


def test_unfinished_files_go_and_no_other_can_be_begun(
    native_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "_creating", rewrite.threading.Lock())
    with DicomFile.open(native_file) as file, StagedFile(file, [], tmp_path / "out.dcm"):
        assert [path.suffix for path in tmp_path.glob(".*")] == [".part"]
        rewrite.discard_unfinished()
        assert list(tmp_path.glob(".*")) == []
        assert rewrite._creating.locked()


@pytest.fixture
def native_file(tmp_path: Path) -> Path:
    path = tmp_path / "ct.dcm"
    path.write_bytes(image().read_bytes())
    return path
