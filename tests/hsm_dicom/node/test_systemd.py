"""What a process tells systemd, and the sockets that systemd passes it."""

from __future__ import annotations

import time

import pytest

from hsm_dicom.node.systemd import ServiceManager
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.node.notifications import Manager, manager
from tests.tokens import scenes

__all__ = ["manager"]


def test_a_reload_is_between_reloading_and_ready(manager: Manager) -> None:
    told = ServiceManager()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with told.reloading(lambda: "2 routes.\nREADY=1"):
        assert eventually(lambda: "STATUS=Reloading." in manager.told)
        assert "READY=1" not in manager.told
    assert eventually(lambda: "READY=1" in manager.told)
    reloading, since, _, *after = manager.told
    assert reloading == "RELOADING=1"
    assert int(since.removeprefix("MONOTONIC_USEC=")) >= before
    assert after == ["READY=1", "STATUS=2 routes. READY=1"]  # a name cannot bring in an assignment


def test_the_watchdog_hears_of_a_loop_that_answers_and_not_of_one_that_is_stuck(manager: Manager) -> None:
    answers = [True]
    with ServiceManager().watched(lambda _: answers[0]):
        assert eventually(lambda: manager.told.count("WATCHDOG=1") >= 2)
        answers[0] = False
        time.sleep(0.3)
        heard = manager.told.count("WATCHDOG=1")
        time.sleep(0.6)
        assert manager.told.count("WATCHDOG=1") == heard


def test_a_watchdog_of_another_process_is_not_ours(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with ServiceManager().watched(lambda _: True):
        time.sleep(0.5)
    assert manager.told == []


SCENE = """
import fcntl, socket
from hsm_dicom.network.errors import ListenError
from hsm_dicom.node.systemd import PassedSockets
count, names, process = uris
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
ports = [one.getsockname()[1] for one in listening]
os.dup2(listening[0].fileno(), 103), os.dup2(listening[1].fileno(), 104)
os.closerange(3, 100)
os.dup2(103, 3), os.dup2(104, 4), os.dup2(os.open("/dev/null", os.O_RDONLY), 5)
os.environ |= {"LISTEN_FDS": count, "LISTEN_PID": process or str(os.getpid())}
if names:
    os.environ["LISTEN_FDNAMES"] = names
try:
    passed = PassedSockets.take_from()
    found = [(name, passed.take(name)) for name in passed.names]
    print(*(f"{name}={ports.index(one.getsockname()[1])}" for name, one in found), "-")
    print(all(fcntl.fcntl(one, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for _, one in found), passed.take("a"))
except ListenError as error:
    print(error)
print(*(name for name in os.environ if name.startswith("LISTEN_")), "-")
os._exit(0) if sys.stdout.flush() is None else None
"""


@pytest.mark.parametrize(
    ("count", "names", "process", "taken"),
    [
        ("2", "main:to-pacs", "", ["main=0 to-pacs=1 -", "True None"]),
        ("1", "", "", ["unknown=0 -", "True None"]),
        ("2", "main:to-pacs", "1", ["-", "True None"]),
        ("2", "main:main", "", ["systemd passed two sockets with the name 'main'."]),
        ("2", "main", "", ["2 sockets were passed with 1 names."]),
        ("3", "a:b:c", "", ["Descriptor 5 ('c') was passed as a socket, and is none"]),
        ("two", "a:b", "", ["LISTEN_FDS is 'two', which is no number."]),
    ],
)
def test_sockets_are_taken_by_name_once_and_no_child_sees_them(
    count: str, names: str, process: str, taken: list[str]
) -> None:
    *found, left = scenes.play(SCENE, count, names, process)
    assert len(found) == len(taken)
    assert all(line.startswith(start) for line, start in zip(found, taken, strict=True)), found
    assert left == "-"
