"""Slow readers, long streams, many associations, and no more descriptors."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from hsm_dicom.gateway.events import RelayEnded
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.settings import SourceLimits
from hsm_dicom.transport.plain import FACTS
from hsm_dicom.transport.port import Secured
from tests.hsm_dicom.gateway.routes import LOOPBACK, Gateway, associate_ac, established, gateway, scripted_target
from tests.hsm_dicom.gateway.test_relay import ECHO, REQUEST, rejection_of
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import p_data, read_exactly, read_pdu, types_until_the_end
from tests.soak import RUNS

PIECE = p_data(1, bytes(100_000), last=False)
LONG = 64 << 20
STREAM = LONG if RUNS == 1 else (4 << 30) + LONG
"""Octets of a long stream. Under `make soak`, they are more than 32 bits count."""

MANY = SourceLimits(associations=1000, associations_per_minute=10_000)


def test_a_slow_reader_holds_up_its_own_association_and_no_other() -> None:
    """The sender's octets wait at the sender: what the relay holds does not grow."""
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
        established(running, target, REQUEST, associate_ac()) as (other_caller, other_far),
    ):
        caller.settimeout(0.3)
        tracemalloc.start()
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < LONG:
                sent += caller.send(PIECE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sent < LONG, "the target reads nothing"
        assert peak < 2 << 20
        other_caller.sendall(ECHO)
        assert read_exactly(other_far, len(ECHO)) == ECHO
        assert len(read_exactly(far, 200_000)) == 200_000
        assert running.route.status().associations == 2


class EndlessSocket(socket.socket):
    """A connection whose other end sends faster than this one reads, also over TLS."""

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        return len(buffer)


def test_a_flood_after_the_end_does_not_hold_the_thread_of_an_association() -> None:
    with EndlessSocket() as endless:
        leg = Leg(Secured(endless, FACTS))
        discarding = threading.Thread(target=leg.discard, daemon=True)
        discarding.start()
        discarding.join(10)
        is_held, leg.has_ended = discarding.is_alive(), True
        assert not is_held


def test_a_long_stream_uses_little_memory() -> None:
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        pieces = STREAM // len(PIECE)
        sending = threading.Thread(target=lambda: [caller.sendall(PIECE) for _ in range(pieces)])
        memory = bytearray(1 << 20)
        tracemalloc.start()
        sending.start()
        left = pieces * len(PIECE)
        while left:
            left -= far.recv_into(memory)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        sending.join(10)
        assert peak < 3 << 20
        assert eventually(lambda: running.route.status().octets_forth > STREAM - len(PIECE))


def test_a_rate_delays_what_a_source_sends() -> None:
    limits = SourceLimits(bytes_per_second=1_000_000)
    with (
        scripted_target() as target,
        gateway(target.device, source_limits=limits) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        started = time.monotonic()
        sending = threading.Thread(target=lambda: [caller.sendall(PIECE) for _ in range(7)])
        sending.start()
        far.sendall(ECHO)
        assert read_exactly(caller, len(ECHO)) == ECHO
        assert len(read_exactly(far, 7 * len(PIECE))) == 7 * len(PIECE)
        sending.join(10)
        assert time.monotonic() - started > 0.3


@contextlib.contextmanager
def idle_associations(running: Gateway, server: socket.socket, number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(number):
            caller = stack.enter_context(running.call())
            caller.sendall(REQUEST)
            far = stack.enter_context(server.accept()[0])
            far.sendall(associate_ac())
            assert read_pdu(caller)[0] == 2
            callers.append(caller)
        yield callers


def count_wake_ups() -> int:
    """Voluntary context switches of all threads that relay."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            lines = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            if lines["Name"].startswith("relay"):
                total += int(lines["voluntary_ctxt_switches"])
    return total


def test_200_idle_associations_wake_nobody_and_are_aborted_together() -> None:
    with scripted_target() as target, gateway(target.device, source_limits=MANY, associations=200) as running:
        with idle_associations(running, target.server, 200) as callers:
            assert running.route.status().associations == 200
            assert rejection_of(running, REQUEST) == (2, 3, 2)
            before = count_wake_ups()
            time.sleep(0.5)
            assert count_wake_ups() - before < 20
            draining = threading.Thread(target=running.route.drain, args=(0.0,))
            draining.start()
            assert all(types_until_the_end(caller) == [7] for caller in callers)
        draining.join(20)
        assert running.route.is_idle
        assert {ended.outcome for ended in running.of(RelayEnded)} == {"aborted"}


def test_without_descriptors_callers_are_turned_away_and_later_ones_are_served() -> None:
    with scripted_target() as target, gateway(target.device, source_limits=MANY) as running:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            callers = [socket.create_connection((LOOPBACK, running.port), timeout=10) for _ in range(4)]
            assert eventually(lambda: running.listener.counts.accepted == 5)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # all of these are in use
            try:
                for one in callers:
                    one.sendall(REQUEST)
                    assert types_until_the_end(one) == [3]
                caller.sendall(ECHO)
                assert read_exactly(far, len(ECHO)) == ECHO
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for one in callers:
                    one.close()
        assert eventually(lambda: running.route.is_idle)
        assert running.route.status().refused == {"limit": 4}
        with established(running, target, REQUEST, associate_ac()):
            assert running.route.status().associations == 1
