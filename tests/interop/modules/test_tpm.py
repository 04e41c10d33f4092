"""A TPM 2.0 (swtpm) behind its resource manager and tpm2-pkcs11: what a restart of the manager does to a login.

After it, the module that was loaded before answers CKR_GENERAL_ERROR to each call, C_Login with the right PIN among
them; and all its tokens have the serial number 0000000000000000.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.tls.programs import free_port
from tests.tokens import scenes
from tokens.uri import Pkcs11Uri

MODULE = next(Path("/usr/lib").glob("*/pkcs11/libtpm2_pkcs11.so"), Path("/usr/lib/pkcs11/libtpm2_pkcs11.so"))

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
</policy></busconfig>
"""


class Tpm:
    """A TPM, its resource manager on a bus of its own, and tokens in a store of its own."""

    def __init__(self, folder: Path, running: contextlib.ExitStack) -> None:
        self.folder = folder
        self._running = running
        self._port = two_free_ports()
        self._manager: subprocess.Popen[bytes] | None = None
        for name in ("tpm", "store"):
            (folder / name).mkdir()
        (folder / "bus.conf").write_text(BUS.format(socket=folder / "bus"))
        self._start("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork")
        self._start(
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'tpm'}"),
            *("--server", f"type=tcp,port={self._port},bindaddr=127.0.0.1"),
            *("--ctrl", f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1"),
            *("--flags", "not-need-init,startup-clear"),
        )
        scenes.until((folder / "bus").exists)
        scenes.until(lambda: is_listened_on(self._port + 1))
        self.start_manager()
        self._ptool("init")

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that uses the tokens."""
        return {
            **os.environ,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}",
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2TOOLS_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_STORE": str(self.folder / "store"),
            "HSM_DICOM_STATE": str(self.folder / "state"),
            "RIGHT": "123456",
            "WRONG": "999999",
        }

    def add_token(self, label: str) -> None:
        """A token with an EC key `key`."""
        self._ptool("addtoken", "--pid", "1", "--label", label, "--sopin", "12345678", "--userpin", "123456")
        self._ptool("addkey", "--label", label, "--userpin", "123456", "--algorithm", "ecc256", "--key-label", "key")

    def start_manager(self) -> None:
        """Start the resource manager, and wait until it answers."""
        self._manager = self._start(
            *("tpm2-abrmd", "--session", "--allow-root", "--tcti", f"swtpm:host=127.0.0.1,port={self._port}")
        )
        asked = ["dbus-send", f"--bus=unix:path={self.folder / 'bus'}", "--print-reply", "--type=method_call"]
        asked += ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"]
        asked += ["string:com.intel.tss2.Tabrmd"]

        def is_there() -> bool:
            return b"boolean true" in subprocess.run(asked, capture_output=True).stdout

        scenes.until(is_there)

    def stop_manager(self) -> None:
        """End the resource manager."""
        assert self._manager is not None
        self._manager.terminate()
        self._manager.wait(10)

    def _ptool(self, command: str, *options: str) -> None:
        done = subprocess.run(
            ["tpm2_ptool", command, *options, "--path", self.folder / "store"],
            capture_output=True,
            text=True,
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
        self._running.callback(end, process)
        return process


def two_free_ports() -> int:
    """The first of two: the client takes for granted that the TPM's control is on the next one."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


def is_listened_on(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tpm]:
    with contextlib.ExitStack() as running:
        yield Tpm(tmp_path_factory.mktemp("tpm"), running)


def uri(label: str) -> Pkcs11Uri:
    return Pkcs11Uri(token=label, object="key", module_path=MODULE)


SIGN_WHEN_TOLD = """
with tokens.open_key(uris[0], pin="env:RIGHT") as key:
    sign(key)
    print("ready", flush=True)
    for line in sys.stdin:
        said(lambda: sign(key))
"""


def test_the_next_signature_works_after_the_resource_manager_was_restarted(tpm: Tpm) -> None:
    tpm.add_token("restarted")
    scene = scenes.begin(SIGN_WHEN_TOLD, uri("restarted"), environment=tpm.environment)

    def asked() -> str:
        scene.stdin.write("\n")
        scene.stdin.flush()
        return scene.stdout.readline().strip()

    assert scene.stdout.readline() == "ready\n"
    for _ in range(2):
        tpm.stop_manager()
        tpm.start_manager()
        assert [asked(), asked()] == ["done", "done"]
    tpm.stop_manager()
    assert [asked(), asked()] == ["TokenLost", "TokenLost"]
    tpm.start_manager()
    assert [asked(), asked()] == ["done", "done"]
    scene.stdin.close()
    assert scene.wait(10) == 0
    scene.stdout.close()
    scene.stderr.close()


def test_a_pin_that_one_token_refused_is_presented_to_another_with_the_same_serial_number(tpm: Tpm) -> None:
    for label in ("one", "other"):
        tpm.add_token(label)
    code = """
def log_in(uri, pin):
    with tokens.open_token(uri, pin=pin) as connection:
        connection.connect()
        print(connection.token.serial)
for uri in uris:
    said(lambda: log_in(uri, "env:WRONG"))
    said(lambda: log_in(uri, "env:WRONG"))
said(lambda: log_in(uris[0], "env:RIGHT"))
"""
    uris = [Pkcs11Uri(token=label, module_path=MODULE) for label in ("one", "other")]
    said = scenes.play(code, *uris, environment=tpm.environment)
    assert said == ["PinRefused", "PinNotPresented"] * 2 + ["0000000000000000", "done"]
