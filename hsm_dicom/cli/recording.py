"""What goes over an ISCL line, written to a file for `hsm-dicom iscl trace`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hsm_dicom.config import Configuration
from hsm_dicom.errors import HsmDicomError
from hsm_dicom.iscl import ISCLHooks
from hsm_dicom.iscl.profile import Role
from hsm_dicom.iscl.trace import Recorder


class CannotRecord(HsmDicomError):
    """There is nothing to record, or nowhere to write it."""


class _Recording:
    """A `packet` hook that a full disk does not stop: the exchange goes on, and what went wrong is told after it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.failure: OSError | None = None

    def __call__(self, sender: Role, octets: bytes) -> None:
        if self.failure is None:
            try:
                self._recorder(sender, octets)
            except OSError as error:
                self.failure = error


@contextlib.contextmanager
def recorded(configuration: Configuration, peer: str, file: Path | None) -> Iterator[ISCLHooks | None]:
    """The hooks that record what is spoken with a peer; None where no file is named. Raises `CannotRecord`."""
    if file is None:
        yield None
        return
    section = configuration.peers.get(peer)
    if section is not None and section.iscl is None:
        raise CannotRecord(f"Only ISCL is recorded, and peer '{peer}' speaks TLS; leave --record out.")
    try:
        # Made here and by nobody else, whatever a symbolic link or another run puts there.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        recorder = Recorder(file)
    except FileExistsError:
        raise CannotRecord(f"{file} is there already; name a new file.") from None
    except OSError as error:
        raise CannotRecord(f"{file} cannot be written ({error.strerror}).") from error
    recording = _Recording(recorder)
    try:
        yield ISCLHooks(packet=recording)
    finally:
        try:
            recorder.__exit__()
        except OSError as error:
            recording.failure = recording.failure or error
    if recording.failure is not None:
        raise CannotRecord(f"{file} does not hold all that was said ({recording.failure.strerror}).")
