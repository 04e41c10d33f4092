"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is under way is cleaned up, and nothing half is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asked this process to end; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def raise_when_terminated() -> Iterator[None]:
    """Raise Terminated in the block, which runs in the main thread, when a signal asks the process to end.

    A signal that is ignored (as by ``nohup``) or handled already is left as it is. A second signal ends the process at
    once, without waiting for the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def end_by_signal(number: int) -> NoReturn:
    """End this process by the signal itself, so that whoever started it sees why it ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # unless the signal is blocked, nothing comes here


def _raise(number: int, _: FrameType | None) -> NoReturn:
    for other in SIGNALS:
        if signal.getsignal(other) is _raise:
            signal.signal(other, _end_at_once)
    raise Terminated(number)


def _end_at_once(number: int, _: FrameType | None) -> NoReturn:
    from hsm_dicom.dataset.rewrite import discard_unfinished

    discard_unfinished()
    end_by_signal(number)
