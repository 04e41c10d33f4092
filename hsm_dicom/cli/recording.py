"""What goes over an ISCL line, written to a file for `hsm-dicom iscl trace`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hsm_dicom.errors import DicomError
from hsm_dicom.iscl import ISCLHooks
from hsm_dicom.iscl.tracing.recording import Recorder
from hsm_dicom.node.plan import NodePlan


class RecordingFileError(DicomError):
    """There is nothing to record, or nowhere to write it."""


@contextlib.contextmanager
def recorded(plan: NodePlan, peer: str, file: Path | None) -> Iterator[ISCLHooks | None]:
    """The hooks that record what is spoken with a peer; None where no file is named. Raises `RecordingFileError`."""
    found = plan.peers.get(peer)
    if file is None or found is None:  # who speaks with the peer says that there is none
        yield None
        return
    if found.peer.iscl is None:
        raise RecordingFileError(f"Only ISCL is recorded, and peer '{peer}' speaks TLS; leave --record out.")
    try:
        recorder = Recorder(file)
    except FileExistsError:
        raise RecordingFileError(f"{file} is there already; name a new file.") from None
    except OSError as error:
        raise RecordingFileError(f"{file} cannot be written ({error.strerror}).") from error
    with recorder:
        yield ISCLHooks(packet=recorder)
    if recorder.failure is not None:
        raise RecordingFileError(f"{file} does not hold all that was said ({recorder.failure.strerror}).")
