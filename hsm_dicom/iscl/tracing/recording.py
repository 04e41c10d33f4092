"""Recordings of exchanges, for `hsm_dicom.iscl.tracing.trace` to explain.

A recording is text: a line for each message, "server" or "client" and its octets in hexadecimal; a line may also hold
several messages, or a part of one, as a capture of TCP data does. Empty lines and what follows a "#" do not count.

    with Recorder(Path("exchange.txt")) as recorder:
        context = ISCLContext(settings, secrets, hooks=ISCLHooks(packet=recorder))

Anyone who has a recording can search the 2**56 DES keys with its challenges and responses, and read what was sent
without encryption: protect it like the connection itself.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from hsm_dicom.errors import DicomError
from hsm_dicom.iscl.wire.profile import Role

LONGEST = 64 << 20
"""Bytes of the longest recording that is read."""

Exchange = list[tuple[Role, bytes]]
"""Who sent which octets, in order."""


class RecordingError(DicomError):
    """A file is no recording, or cannot be read; names the file or the line."""


class Recorder:
    """Writes each message to a new file of mode 0600; the `packet` hook of one connection.

    Raises OSError where the file cannot be made, or is there already, be it as a symbolic link. A disk that is full
    later does not stop the exchange: `failure` is why the recording is incomplete. Close it after the
    connection; what comes later nevertheless is not recorded.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="ascii", buffering=1)
        self.failure: OSError | None = None
        self._writing = threading.Lock()

    def __call__(self, sender: Role, octets: bytes) -> None:
        """Write one message."""
        with self._writing:
            if self.failure is not None or self._file.closed:
                return
            try:
                self._file.write(f"{sender} {octets.hex()}\n")
            except OSError as error:
                self.failure = error

    def close(self) -> None:
        """Write what is left. Never raises."""
        with self._writing:
            try:
                self._file.close()
            except OSError as error:
                self.failure = self.failure or error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_exchange(file: Path) -> Exchange:
    """Load the exchange of a recording. Raises `RecordingError`."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RecordingError(f"{file} is not a recording: it is not a regular file.")
        if status.st_size > LONGEST:
            raise RecordingError(f"{file} is longer than {LONGEST >> 20} MiB; cut out what is to be explained.")
        with file.open(encoding="ascii") as lines:
            return read_exchange(lines)
    except UnicodeDecodeError:
        raise RecordingError(f"{file} is not a recording: it has characters that are not ASCII.") from None
    except OSError as error:
        raise RecordingError(f"{file} cannot be read ({error.strerror}).") from None


def read_exchange(lines: Iterable[str]) -> Exchange:
    """Read the exchange from the lines of a recording. Raises `RecordingError`."""
    exchange = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        try:
            exchange.append((Role(words[0]), bytes.fromhex(words[1])))
        except (ValueError, IndexError):
            raise RecordingError(
                f'Line {number} is not part of a recording; it should be "server" or "client" and hexadecimal digits.'
            ) from None
    return exchange
