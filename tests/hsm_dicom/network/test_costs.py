"""What a listener costs: memory for large objects, and wake-ups for associations in which nothing happens."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

from hsm_dicom.network.settings import Peer
from hsm_dicom.network.store import store
from hsm_dicom.network.upper_layer.provider import OUTGOING, Outgoing
from tests.hsm_dicom.cli.conftest import PROGRAM
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.listening import listening
from tests.hsm_dicom.network.nodes import TIMEOUTS, transport_to
from tests.hsm_dicom.network.pdus import associate_rq, echo_rq, p_data, read_pdu, status_of
from tests.hsm_dicom.network.test_cli import Site, site
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.soak import RUNS

__all__ = ["site"]

OBJECT_MIB = 128 if RUNS == 1 else 1024
GROWTH_MIB = 32
ASSOCIATIONS = 32
WAKE_UPS = 20
"""In a second, in all threads of the listener together. Looking every millisecond, there were about 50,000."""


def peak_mib(process: int) -> float:
    """The most memory that a process has had in use."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(kib) / 1024


def wake_ups(process: int) -> int:
    """How often the threads of a process have gone to sleep by themselves."""
    return sum(
        int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text(), re.M)[0])
        for thread in Path(f"/proc/{process}/task").iterdir()
    )


def large_image(folder: Path, mib: int) -> Path:
    """A CT image whose Pixel Data are so many MiB of zeros, which take no room on disk."""
    path = ct_image(folder, f"{mib}.dcm", pixels=2 << 16)
    head = path.read_bytes()[: -(2 << 16) - 4]
    with path.open("wb") as file:
        file.write(head + (mib << 20).to_bytes(4, "little"))
        file.truncate(file.tell() + (mib << 20))
    return path


def test_a_large_object_is_received_without_being_held(site: Site, hospital: Hospital, tmp_path: Path) -> None:
    peer = Peer(name="self", ae_titles=("NODE",), host="127.0.0.1", port=site.port)
    transport = transport_to(peer, hospital, hospital.rsa)
    with listening(site.config) as running:
        assert store(peer, transport, "NODE", [large_image(tmp_path, 1)], timeouts=TIMEOUTS).done
        before = peak_mib(running.process.pid)
        result = store(peer, transport, "NODE", [large_image(tmp_path, OBJECT_MIB)], timeouts=TIMEOUTS)
        growth = peak_mib(running.process.pid) - before
    assert result.done, result.outcomes
    assert {path.stat().st_size >> 20 for path in (tmp_path / "received").iterdir()} == {1, OBJECT_MIB}
    assert growth <= GROWTH_MIB


def test_a_large_object_is_sent_without_being_held(site: Site, tmp_path: Path) -> None:
    def peak_of_sending(mib: int) -> float:
        command = [*PROGRAM, "store", "self", str(large_image(tmp_path, mib)), "--config", str(site.config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sending:
            _, status, usage = os.wait4(sending.pid, 0)
            sending.returncode = os.waitstatus_to_exitcode(status)
        assert sending.returncode == 0
        return usage.ru_maxrss / 1024

    with listening(site.config):
        assert peak_of_sending(OBJECT_MIB) - peak_of_sending(1) <= GROWTH_MIB


def test_a_sender_waits_for_room_and_for_nobody_when_the_connection_is_over() -> None:
    ended = threading.Event()
    outgoing = Outgoing(lambda: None, ended)
    for number in range(OUTGOING):
        outgoing.put(number)
    first = threading.Thread(target=outgoing.put, args=("first",))
    first.start()
    first.join(0.2)
    assert first.is_alive()
    assert outgoing.get() == 0
    first.join(5)
    second = threading.Thread(target=outgoing.put, args=("second",))
    second.start()
    ended.set()
    second.join(5)
    assert not first.is_alive()
    assert not second.is_alive()
    assert outgoing.qsize() == OUTGOING


def test_associations_in_which_nothing_happens_wake_nobody_up(site: Site, hospital: Hospital) -> None:
    peer = Peer(name="self", ae_titles=("NODE",), host="127.0.0.1", port=site.port)
    transport = transport_to(peer, hospital, hospital.rsa)
    with listening(site.config) as running, contextlib.ExitStack() as stack:
        connections = []
        for _ in range(ASSOCIATIONS):
            connection = socket.create_connection(("127.0.0.1", site.port), timeout=10)
            connections.append(stack.enter_context(transport.connect(connection, "node", 10).socket))
            connections[-1].sendall(associate_rq(calling=b"NODE"))
            assert read_pdu(connections[-1])[0] == 2
        time.sleep(0.5)  # what began has come to rest
        before = wake_ups(running.process.pid)
        time.sleep(1.0)
        assert wake_ups(running.process.pid) - before <= WAKE_UPS
        for connection in connections:
            connection.sendall(p_data(1, echo_rq(), is_command=True))
            kind, body = read_pdu(connection)
            assert (kind, status_of(body)) == (4, 0)
