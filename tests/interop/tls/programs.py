"""Running the programs that stand for other people's software: bounded, on loopback, ended by us."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SECONDS = 20.0


def run(*command: object, input: bytes = b"") -> tuple[int, str]:
    """The exit status and everything that was printed."""
    done = subprocess.run(
        [str(part) for part in command],
        input=input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


class Server:
    """A server program that runs. `printed` is what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def printed(self) -> str:
        return "".join(self._lines)

    def says(self, text: str, seconds: float = 5.0) -> bool:
        """Whether it prints this before the time is over."""
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed when the process ends, which may be in the middle of a line
            for line in self.process.stdout:
                self._lines.append(line.decode("utf-8", "replace"))


@contextlib.contextmanager
def serving(port: int, command: Sequence[object], cwd: Path | None = None) -> Iterator[Server]:
    """A server program that listens on a port while the block runs."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
    )
    server = Server(process, port)
    try:
        _await_listening(port, server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _await_listening(port: int, server: Server) -> None:
    # Looked up rather than tried out: a connection would be the first that the program sees.
    wanted = f"0100007F:{port:04X}", f"00000000:{port:04X}", f"{'0' * 32}:{port:04X}"
    deadline = time.monotonic() + 10
    while True:
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        rows = [line.split() for line in tables.splitlines()]
        if any(row[1] in wanted and row[3] == "0A" for row in rows if len(row) > 3):
            return
        assert server.process.poll() is None, server.printed
        assert time.monotonic() < deadline, server.printed
        time.sleep(0.01)
