"""A module that has taken over its process sends what it likes: it is ended, and its parent is not harmed."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path

import pytest

from tokens.errors import TokenLostError
from tokens.pkcs11.isolation import process as processes
from tokens.pkcs11.isolation.messages import LOAD, encode_error, encode_result
from tokens.pkcs11.isolation.process import ModuleProcess

pytestmark = pytest.mark.usefixtures("bounded")

LIAR = """
import os, socket, sys, time
control = socket.socket(fileno=os.dup(0))
_, descriptors, _, _ = socket.recv_fds(control, 1, 1)
line = socket.socket(fileno=descriptors[0])
line.recv(1000)
line.sendall(bytes.fromhex({answer!r}))
if {close}:
    line.close()
    control.close()
time.sleep(60)
"""


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    ("answer", "close", "why"),
    [
        (b"\xff" * 64, False, "a message of 4294967295 bytes"),
        (framed(b"\x80\x04N."), False, "an invalid answer"),
        (framed(pickle.dumps(print)), False, "an invalid answer"),
        (framed(bytes(encode_result(b"not None"))), False, "bytes instead of NoneType"),
        (framed(bytes(encode_result([[[None]]]))), False, "list instead of NoneType"),
        (framed(b"L" * 5000), False, "an invalid answer"),
        (b"\x00\x00\x00\x10abc", True, "has closed its connection"),
        (b"", True, "has closed its connection"),
        (b"\x00\x00\x00\x10abc", False, "sent nothing for 0.5 seconds"),
        (framed(bytes(encode_error(KeyboardInterrupt("\x1b[2J")))), False, r"KeyboardInterrupt: \\x1b\[2J"),  # type: ignore[arg-type]
    ],
)
def test_a_lie_ends_the_process(answer: bytes, close: bool, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_START", textwrap.dedent(LIAR).format(answer=answer.hex(), close=close))
    process = ModuleProcess(Path("/module.so"), 1, one_at_a_time=False)
    with pytest.raises(Exception, match=why) as failed:
        process.call(LOAD, ("/module.so",), {}, silence=0.5)
    if isinstance(failed.value, TokenLostError):
        assert process.reason is not None
        assert process._process.returncode is not None
        with pytest.raises(TokenLostError):
            process.call(LOAD, ("/module.so",), {})
    processes.end_processes([process])
    assert process._process.returncode is not None


def test_a_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_START", "raise SystemExit(7)")
    process = ModuleProcess(Path("/module.so"), 1, one_at_a_time=False)
    with pytest.raises(TokenLostError, match="ended with status 7"):
        process.call(LOAD, ("/module.so",), {})
