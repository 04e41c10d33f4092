"""A TPM 2.0: tpm2-pkcs11 over tpm2-abrmd and swtpm, on a session bus of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.interop.modules import behaviours
from tests.interop.modules.devices.device import Device, Place
from tests.interop.modules.devices.worker import Worker
from tests.pausing import pause
from tests.ports import free_ports, is_listening
from tests.tokens import scenes

MODULE = next(Path("/usr/lib").glob("*/pkcs11/libtpm2_pkcs11.so"), Path("/usr/lib/pkcs11/libtpm2_pkcs11.so"))
TOKEN = "tpm"
PIN = "31415926"

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""


class Chip:
    """swtpm with its resource manager on a bus.

    A chip does not go away while its machine runs; its daemon, the resource manager, does. To let it hang, `pause`
    stops the chip.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "store"):
            (folder / name).mkdir()
        (folder / "bus.conf").write_text(BUS.format(path=folder / "bus"))
        self.port = free_ports(2)
        self.bus = _begin("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile")
        self.swtpm: subprocess.Popen[bytes] | None = None
        self.manager: subprocess.Popen[bytes] | None = None
        scenes.until((folder / "bus").exists)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use the TPM."""
        return {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}",
            "TPM2_PKCS11_STORE": str(self.folder / "store"),
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_LOG_LEVEL": "0",
            "TSS2_LOG": "all+none",
            "TOKENS_STATE": str(self.folder / "refusals"),
            "HSM_DICOM_STATE": str(self.folder / "refusals"),
        }

    def start(self) -> None:
        port = self.port
        if self.swtpm is None:
            server, control = (f"type=tcp,port={each},bindaddr=127.0.0.1" for each in (port, port + 1))
            state = ("--tpmstate", f"dir={self.folder / 'state'}", "--flags", "not-need-init,startup-clear")
            self.swtpm = _begin("swtpm", "socket", "--tpm2", *state, "--server", server, "--ctrl", control)
            scenes.until(lambda: is_listening(port) and is_listening(port + 1))
        tcti = f"swtpm:host=127.0.0.1,port={port}"
        # A manager that is killed leaves what it has loaded in the chip. After a few kills, no login works.
        options = ("--session", "--allow-root", "--flush-all", "--tcti", tcti)
        self.manager = _begin("tpm2-abrmd", *options, **self.environment)
        scenes.until(self._has_resource_manager)

    def kill(self) -> None:
        if self.manager is not None:
            self.manager.kill()
            self.manager.wait()
            self.manager = None

    def lose_power(self) -> None:
        """End the chip, too, without TPM2_Shutdown."""
        self.kill()
        if self.swtpm is not None:
            self.swtpm.kill()
            self.swtpm.wait()
            self.swtpm = None

    def pause(self) -> None:
        assert self.swtpm is not None
        pause(self.swtpm.pid)

    def resume(self) -> None:
        assert self.swtpm is not None
        self.swtpm.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End all of it."""
        self.lose_power()
        self.bus.kill()
        self.bus.wait()

    def _has_resource_manager(self) -> bool:
        asked = subprocess.run(
            [
                *("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"),
                *("org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd"),
            ],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        return "boolean true" in asked.stdout


@contextlib.contextmanager
def chip() -> Iterator[Chip]:
    """Provide a TPM without a token. The folder's name is short: it holds a socket."""
    folder = Path(tempfile.mkdtemp(prefix="tpm"))
    made = Chip(folder)
    try:
        made.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Worker]:
    """Provide a process that uses an empty token, and the TPM."""
    with chip() as tpm:
        made = Device("tpm", Place(str(MODULE), TOKEN), PIN, tpm.environment, daemon=tpm)
        with contextlib.closing(Worker(made, folder)) as worker:
            worker.run(behaviours.initialise, PIN)
            yield worker


def _begin(*command: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
