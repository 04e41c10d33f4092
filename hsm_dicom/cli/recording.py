"""Recording of an ISCL exchange in a file for `hsm-dicom iscl trace`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hsm_dicom.errors import DicomError
from hsm_dicom.iscl import ISCLHooks
from hsm_dicom.iscl.tracing.recording import Recorder
from hsm_dicom.node.plan import NodePlan


class RecordingFileError(DicomError):
    """There is nothing to record, or the file cannot be written."""


@contextlib.contextmanager
def record_exchange(plan: NodePlan, peer: str, file: Path | None) -> Iterator[ISCLHooks | None]:
    """Yield hooks that record the exchange with a peer, or None if no file is given. Raises `RecordingFileError`."""
    found = plan.peers.get(peer)
    if file is None or found is None:  # opening an unknown peer raises the error
        yield None
        return
    if found.peer.iscl is None:
        raise RecordingFileError(f"Only ISCL can be recorded, but peer '{peer}' uses TLS; omit --record.")
    try:
        recorder = Recorder(file)
    except FileExistsError:
        raise RecordingFileError(f"{file} exists already; give --record a new file.") from None
    except OSError as error:
        raise RecordingFileError(f"{file} cannot be written ({error.strerror}).") from error
    with recorder:
        yield ISCLHooks(packet=recorder)
    if recorder.failure is not None:
        raise RecordingFileError(f"{file} is incomplete ({recorder.failure.strerror}).")
