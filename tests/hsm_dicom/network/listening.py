"""`hsm-dicom listen` as a process of its own, and what it prints."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hsm_dicom.cli.conftest import PROGRAM


class Listening:
    """The process, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, text: str, seconds: float = 20.0) -> bool:
        deadline = time.monotonic() + seconds
        while text not in " ".join(" ".join(self.printed).split()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.printed.extend(iter(self.process.stdout.readline, ""))


@contextlib.contextmanager
def listening(
    config: Path,
    *options: str,
    until: str = "listens on",
    before: Sequence[str] = (),
    command: Sequence[str] = ("listen",),
) -> Iterator[Listening]:
    """Run a command that serves. `before` is a program that starts it, with its arguments."""
    process = subprocess.Popen(
        [*before, *PROGRAM, *command, "--config", str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    running = Listening(process)
    try:
        if until:
            assert running.says(until), running.printed
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        running._reader.join(5)
        if process.stdout:
            process.stdout.close()


def activated(*sockets: tuple[str, str]) -> list[str]:
    """The program that starts another one with sockets, each an address and a name, when the first caller comes."""
    listened = [option for address, _ in sockets for option in ("-l", address)]
    kept = [option for name in os.environ for option in ("-E", name)]
    return ["systemd-socket-activate", *listened, "--fdname=" + ":".join(name for _, name in sockets), *kept]
