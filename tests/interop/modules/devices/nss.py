"""NSS softokn (libnss3), with a database of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.interop.modules.devices.device import Device, Place
from tests.interop.modules.devices.worker import Worker

SOFTOKN = next(Path("/usr/lib").glob("*/libsoftokn3.so"), Path("/usr/lib/libsoftokn3.so"))
TOKEN = "NSS Certificate DB"
PIN = "Nss-pin-271828"


def init_string(folder: Path) -> str:
    """Return what C_Initialize needs for the database in a folder."""
    return f"configDir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="


def new_database(folder: Path) -> None:
    """Make a database in an existing folder, with its PIN in the file `pin`."""
    (folder / "pin").write_text(PIN)
    (folder / "pin").chmod(0o600)
    subprocess.run(["certutil", "-N", "-d", f"sql:{folder}", "-f", folder / "pin"], check=True, capture_output=True)


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Worker]:
    """Provide a process that uses an empty token."""
    new_database(folder)
    state = {"TOKENS_STATE": str(folder / "state"), "HSM_DICOM_STATE": str(folder / "state")}
    with contextlib.closing(
        Worker(Device("nss", Place(str(SOFTOKN), TOKEN, init_string(folder)), PIN, state), folder)
    ) as worker:
        yield worker
