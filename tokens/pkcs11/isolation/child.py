"""The process that loads one PKCS#11 module and makes its calls for another process.

Its standard input is a socket, over which it receives one socket for each call that can be made at the same time. It
ends when the other end of the first socket is closed, in whatever way the other process ends.

A thread watches the clock of every call. It reports a call that takes longer than it may; the other process then kills
this one. While a call lasts, it also reports that this process works, so that the other one need not know how long
which call may take.

Session numbers are this process's own and are used by no earlier or later process, so that a number which outlived its
process is refused.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tokens.deadlines import CallDeadlines
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.loading import load_function_list
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.calls.return_values import error_of
from tokens.pkcs11.isolation.channel import Channel, EndedError
from tokens.pkcs11.isolation.encoding import MalformedError
from tokens.pkcs11.isolation.messages import (
    LOAD,
    USE_DEADLINES,
    decode_request,
    device_calls,
    encode_busy,
    encode_error,
    encode_expiry,
    encode_result,
)

T = TypeVar("T")

BUSY_INTERVAL = 0.5
"""Seconds between the reports of a call that lasts."""

_LOOK = 0.025
"""Seconds between looks at the clock while calls are made."""

_FINALISE_TIMEOUT = 0.5
"""Seconds that C_Finalize may take when the other process has ended."""

_SESSION_HANDLE_INVALID = 0xB3
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent to all processes of a terminal or a service. This process ends after its parent, which may have work left."""

_here = threading.local()


class _Clock:
    """The C function that a thread calls, and when it should have returned."""

    def __init__(self) -> None:
        self.function = self.kind = ""
        self.seconds = 0.0
        self.expires = math.inf


class _Line:
    """One socket, and the call that is being made for it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.clock = _Clock()
        self.is_busy = False
        self._reported = 0.0
        self._answering = threading.Lock()

    def begin(self) -> None:
        """Begin a request."""
        self._reported = time.monotonic()
        self.is_busy = True

    def answer(self, content: bytearray) -> None:
        """Answer the request, and end it."""
        with self._answering:
            self.is_busy = False
            self.channel.send(content)

    def look(self, now: float) -> None:
        """Report that the call has taken too long, or that this process works."""
        if not self._answering.acquire(blocking=False):
            return  # the answer is being sent
        try:
            if self.is_busy and now >= self.clock.expires:
                self.is_busy = False
                self.channel.send(encode_expiry(self.clock.function, self.clock.seconds, self.clock.kind))
            elif self.is_busy and now - self._reported >= BUSY_INTERVAL:
                self._reported = now
                self.channel.send(encode_busy())
        except EndedError:
            self.is_busy = False
        finally:
            self._answering.release()


class _WatchedCalls:
    """The calls of this process, made in the thread of their socket. Takes the place of `CallThreads`."""

    is_here = True

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self._begun = threading.Event()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job."""
        return job()

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method."""
        return method(owner, *arguments, **options)

    def when_answering(self, slot: int | None, action: Callable[[], None]) -> None:
        """Call `action` now: no call is late."""
        action()

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Start the clock of a call."""
        clock: _Clock = _here.clock
        clock.function, clock.seconds, clock.kind = function, float(seconds), kind
        clock.expires = time.monotonic() + seconds

    def end_call(self) -> None:
        """Stop the clock."""
        _here.clock.expires = math.inf

    def expect(self) -> None:
        """Make the watching thread look, since a request begins."""
        if not self._begun.is_set():
            self._begun.set()

    def _watch(self) -> None:
        while True:
            self._begun.wait()
            self._begun.clear()
            while busy := [line for line in tuple(self.lines) if line.is_busy]:
                now = time.monotonic()
                for line in busy:
                    line.look(now)
                time.sleep(_LOOK)


class _Sessions:
    """The session numbers that the other process uses, each with the handle of its session."""

    def __init__(self, first: int) -> None:
        self._numbers = itertools.count(first)
        self._handles: dict[int, int] = {}

    def add(self, handle: int) -> int:
        """Return a new number for a session."""
        number = next(self._numbers)
        self._handles[number] = handle
        return number

    def find(self, number: int) -> int | None:
        """Return the handle, or None for a session of another process."""
        return self._handles.get(number)

    def remove(self, number: int) -> None:
        """Forget a session that was closed."""
        self._handles.pop(number, None)


class _Service:
    """Carries out requests."""

    def __init__(self, first_session: int, *, one_at_a_time: bool) -> None:
        self.calls = _WatchedCalls()
        self._sessions = _Sessions(first_session)
        self._turn = threading.Lock() if one_at_a_time else contextlib.nullcontext()
        self._owners: dict[str, Any] = {}
        self._methods = device_calls()
        self._takes_session = {
            name for name, method in self._methods.items() if "session" in inspect.signature(method).parameters
        }

    def serve(self, line: _Line) -> None:
        """Carry out the requests of one socket until it is closed."""
        _here.clock = line.clock
        self.calls.lines.append(line)
        try:
            while True:
                content = line.channel.receive()
                line.begin()
                self.calls.expect()
                line.answer(self._carry_out(content))
        except (EndedError, MalformedError):
            return
        finally:
            self.calls.lines.remove(line)

    def finalise(self) -> None:
        """Finalise the module, unless a call is being made."""
        owner = self._owners.get(Cryptoki.__name__)
        if owner is not None and not any(line.is_busy for line in self.calls.lines):
            _here.clock = _Clock()
            owner.finalize()

    def _carry_out(self, content: bytearray) -> bytearray:
        try:
            method, arguments, options = decode_request(content)
            with self._turn:
                return encode_result(self._call(method, arguments, options))
        except Exception as error:
            return encode_error(error)

    def _call(self, method: str, arguments: list[Any], options: dict[str, Any]) -> object:
        if method == LOAD:
            self._load(*arguments)
            return None
        if method == USE_DEADLINES:
            self._owners[Cryptoki.__name__].use_deadlines(*arguments, CallDeadlines(**options))
            return None
        with self._lend_session(method, arguments) as there:
            if not there:
                if method.startswith(Cryptoki.__name__):
                    return _SESSION_HANDLE_INVALID
                raise error_of(_SESSION_HANDLE_INVALID)
            result = self._methods[method](self._owners[method.partition(".")[0]], *arguments, **options)
        if method == Cryptoki.open_session.__qualname__:
            rv, handle = result
            return rv, handle if rv else self._sessions.add(handle)
        return result

    @contextlib.contextmanager
    def _lend_session(self, method: str, arguments: list[Any]) -> Iterator[bool]:
        """Put the handle in the place of a session's number; provide whether there is such a session."""
        place = arguments if method in self._takes_session else None
        if arguments and isinstance(arguments[0], Function) and arguments[0].takes_session:
            place = arguments[1]  # the call of a PIN: its function, then slot or session
        if place is None:
            yield True
            return
        number = place[0]
        handle = self._sessions.find(number)
        if handle is not None:
            place[0] = handle
        yield handle is not None
        if method.endswith(".close_session"):
            self._sessions.remove(number)

    def _load(self, file: str) -> None:
        cryptoki = Cryptoki(load_function_list(Path(file)), self.calls)
        queries = Queries(cryptoki)
        self._owners |= {"Cryptoki": cryptoki, "Operations": queries, "Queries": queries}


def main() -> None:
    """Serve the process that started this one: the arguments are the first session number, and whether calls wait."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    service = _Service(int(sys.argv[1]), one_at_a_time=sys.argv[2] == str(True))
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            break
        line = _Line(Channel(socket.socket(fileno=descriptors[0])))
        threading.Thread(target=service.serve, args=(line,), daemon=True).start()
    finalising = threading.Thread(target=service.finalise, daemon=True)
    finalising.start()
    finalising.join(_FINALISE_TIMEOUT)
    # Whatever its threads do: nobody waits for them.
    os._exit(0)
