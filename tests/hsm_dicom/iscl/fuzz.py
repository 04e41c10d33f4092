"""A fuzz target for the state machine: any octets, at any moment, to either end.

    python -m tests.hsm_dicom.iscl.fuzz [SECONDS]

An input is read as orders: to which end, in which state, and which octets arrive, in which pieces. Whatever they are,
the end answers with messages or one `ISCLError`, stays answering the same, and holds no more than a message.
"""

from __future__ import annotations

import random
import sys
import time

from hsm_dicom.iscl.errors import ISCLError
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import ENDED, State
from hsm_dicom.iscl.wire.encoding import build
from hsm_dicom.iscl.wire.messages import MAX_MESSAGE
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from tests.hsm_dicom.iscl.samples import SAMPLES, Line

STATES = [state for state in State if state not in ENDED]


def fuzz_one(data: bytes) -> None:
    """Run one input. Raises whatever should not happen."""
    orders = iter(data)
    role, initiator = (list(Role)[next(orders, 0) % 2] for _ in range(2))
    end = Line().drive(STATES[next(orders, 0) % len(STATES)], initiator).ends[role]
    size = next(orders, 0) % 64 + 1
    octets = bytes(orders)
    for start in range(0, len(octets) + 1, size):
        end.receive_data(octets[start : start + size])
        try:
            while (event := end.next_event()) is not None:
                assert end.state is not State.FAILED
                repr(event)
        except ISCLError as error:
            _stays_failed(end, error)
            return


def _stays_failed(end: StateMachine, error: ISCLError) -> None:
    assert end.state is State.FAILED
    assert str(end.error) == str(error)
    assert len(end.refuse(error)) < 256
    assert end.refuse(error) == b""
    end.receive_data(bytes(MAX_MESSAGE))
    assert end._reader.is_empty or len(end._reader._buffer) <= MAX_MESSAGE
    for message in SAMPLES:
        try:
            end.send(message)
        except ISCLError:
            continue
        raise AssertionError(f"a failed line sent {message}")


def an_input(source: random.Random) -> bytes:
    """Orders, and messages that are mostly sound and sometimes spoilt."""
    octets = bytearray(source.randbytes(4))
    for _ in range(source.randrange(1, 6)):
        message = bytearray(build(source.choice(SAMPLES), WireProfile()))
        for _ in range(source.choice((0, 0, 0, 1, 3))):
            message[source.randrange(len(message))] = source.choice((0, 1, 2, 0x10, 0x7F, 0xFF))
        octets += message[: source.choice((len(message), len(message), source.randrange(len(message) + 1)))]
    return bytes(octets)


def run(seconds: float, seed: int = 0) -> int:
    """Try inputs for so many seconds; returns how many."""
    source = random.Random(seed)
    ends = time.monotonic() + seconds
    count = 0
    while time.monotonic() < ends:
        fuzz_one(an_input(source))
        count += 1
    return count


if __name__ == "__main__":
    print(f"{run(float(sys.argv[1]) if len(sys.argv) > 1 else 60, seed=time.time_ns())} inputs, nothing found")
