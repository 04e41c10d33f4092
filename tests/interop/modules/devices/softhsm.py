"""SoftHSM 2, in a folder of its own; in the process that uses it, or isolated in another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.interop.modules import behaviours
from tests.interop.modules.devices.device import Device, Place
from tests.interop.modules.devices.worker import Worker
from tests.softhsm import MODULE, provision_environment

PIN = "Softhsm-pin-1414"


@contextlib.contextmanager
def device(folder: Path, name: str = "softhsm", isolation: str = "none") -> Iterator[Worker]:
    """Provide a process that uses an empty token."""
    environment = {
        **provision_environment(folder / "softhsm"),
        "TOKENS_STATE": str(folder),
        "HSM_DICOM_STATE": str(folder),
    }
    made = Device(name, Place(str(MODULE), "soft", isolation=isolation), PIN, environment)
    worker = Worker(made, folder)
    with contextlib.closing(worker):
        worker.run(behaviours.initialise, PIN)
        yield worker
