"""Termination of a command by SIGTERM and SIGHUP, with the same clean-up as by Ctrl-C."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """Raised when a signal asks this process to end; ``number`` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Received:
    """The signal for which a handler raised an exception, which code that is called from C may have swallowed."""

    number: int | None = None


_received = _Received()


def get_received_signal() -> int | None:
    """Return the signal that asked this process to end, by an exception, since `raise_when_terminated` began."""
    return _received.number


@contextmanager
def raise_when_terminated() -> Iterator[None]:
    """Raise an exception in the block when a signal asks the process to end; effective only in the main thread.

    Raises KeyboardInterrupt for SIGINT, and Terminated for others. Signals that are already ignored (as by ``nohup``)
    or handled are left unchanged. A second SIGTERM or SIGHUP ends the process at once, without waiting for the
    clean-up.
    """
    _received.number = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
    handlers = {**dict.fromkeys(SIGNALS, _raise), signal.SIGINT: _interrupt}
    taken = [number for number, was in before.items() if was in (signal.SIG_DFL, signal.default_int_handler)]
    for number in taken:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


class Stopping:
    """Stop request of a signal for a block that can stop by itself."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._number: int | None = None

    def note(self, number: int) -> None:
        """Record the signal, and ask the block to stop."""
        self._number = number
        self.stop.set()

    def check(self) -> None:
        """Raise KeyboardInterrupt or Terminated if a signal was recorded."""
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._number is not None:
            raise Terminated(self._number)


@contextmanager
def stop_when_terminated() -> Iterator[Stopping]:
    """Record the first Ctrl-C, SIGTERM or SIGHUP instead of raising an exception, and let the block stop by itself.

    The next Ctrl-C raises KeyboardInterrupt at once; the next SIGTERM or SIGHUP ends the process.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    taken = [number for number, was in handlers.items() if was in (_raise, _interrupt, signal.default_int_handler)]

    def note(number: int, _: FrameType | None) -> None:
        stopping.note(number)
        for other in taken:
            signal.signal(other, signal.default_int_handler if other == signal.SIGINT else _end_at_once)

    for number in taken:
        signal.signal(number, note)
    try:
        yield stopping
    finally:
        for number in taken:
            if signal.getsignal(number) is note:
                signal.signal(number, handlers[number])


class SignalQueue:
    """Signals that the main thread of a service receives one after the other, instead of being interrupted by them."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()

    def collect(self, *numbers: int) -> None:
        """Queue these signals from now on, whatever happened to them before."""
        for number in numbers:
            signal.signal(number, lambda received, _: self._received.put(received))

    def get(self) -> int:
        """Wait for the next signal, and return its number."""
        return self._received.get()


def end_by_signal(number: int) -> NoReturn:
    """End this process by the signal itself, so that the parent process sees why it ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # reached only if the signal is blocked


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    _received.number = number
    raise KeyboardInterrupt


def _raise(number: int, _: FrameType | None) -> NoReturn:
    _received.number = number
    for other in SIGNALS:
        if signal.getsignal(other) is _raise:
            signal.signal(other, _end_at_once)
    raise Terminated(number)


def _end_at_once(number: int, _: FrameType | None) -> NoReturn:
    from hsm_dicom.dataset.rewrite import discard_unfinished

    discard_unfinished()
    end_by_signal(number)
