"""A private pcscd with virtual readers, in a network of its own, for as long as a test needs it.

vpcd listens on all addresses of its machine, so pcscd and its cards get a network namespace that has nothing but a
loopback. Clients reach pcscd through its Unix socket, which needs no network. Any user may do this where user
namespaces are allowed; where they are not, `why_not` says so.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PCSCD = Path("/usr/sbin/pcscd")
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
ROOT = Path(__file__).resolve().parent.parent.parent

_FIRST_PORT = 35963
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_PR_SET_PDEATHSIG = 1


def why_not() -> str | None:
    """What keeps the virtual readers from working here, as a sentence; None where they work."""
    if not PCSCD.exists() or not DRIVER.exists():
        return "pcscd and vsmartcard-vpcd are not installed."
    if not Path("/run/pcscd").is_dir() and os.geteuid():
        return "/run/pcscd does not exist and cannot be made without root."
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, timeout=10)
    if tried.returncode:
        return f"No network namespace may be made here: {tried.stderr.strip()}."
    return None


def _unshare() -> list[str]:
    return ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]


@dataclass
class Daemon:
    """A running pcscd. Readers are named `NAME 00 00` and `NAME 00 01`, for each name.

    Those in `pin_pads` have a pin pad, on which somebody types what `type_pin` is told.
    """

    folder: Path
    names: Sequence[str] = ("Rig",)
    pin_pads: Sequence[str] = ()
    process: subprocess.Popen[bytes] = field(init=False)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    cards: list[RunningCard] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        self.start()

    @property
    def socket_path(self) -> Path:
        """What PCSCLITE_CSOCK_NAME must name before the first PC/SC call of a process."""
        return self.folder / "pcscd.comm"

    def start(self) -> None:
        """Start pcscd, and wait until it answers."""
        self.socket_path.unlink(missing_ok=True)
        with (self.folder / "pcscd.log").open("ab") as log:
            command = [*_unshare(), sys.executable, __file__, self.folder]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 10
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"pcscd did not start: {(self.folder / 'pcscd.log').read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End pcscd at once, as a crash would. Cards are in its network, and of no use to the next one."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End pcscd and every card."""
        for card in self.cards:
            card.stop()
        for child in self.children:
            child.kill()
            child.wait(10)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()

    def port(self, reader: str) -> int:
        """The port of a slot, by the reader's name."""
        name, _, slot = reader.rpartition(" 00 0")
        return _FIRST_PORT + 2 * self.names.index(name) + int(slot)

    def type_pin(self, name: str, pin: str | None) -> None:
        """What somebody types on a pin pad from now on; None if nobody is there."""
        typed = self._beside(self.folder / f"driver-{self.names.index(name)}.so", "typed")
        if pin is None:
            typed.unlink(missing_ok=True)
        else:
            typed.write_text(pin)

    def run_card(self, arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        """Start a card program in this pcscd's network."""
        enter = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]
        if os.geteuid():
            enter = ["nsenter", f"--target={self.process.pid}", "-U", "-n", "--preserve-credentials"]
        child = subprocess.Popen([*enter, *arguments], cwd=ROOT, **options)
        self.children.append(child)
        return child

    def card(self, reader: str, **description: Any) -> RunningCard:
        """Start a card of our own for a slot. It is not inserted yet."""
        control = self.folder / f"card-{next(self._numbers)}"
        command = [sys.executable, "-m", "tests.cards.program", control, str(self.port(reader))]
        process = self.run_card([*command, json.dumps(description)])
        running = RunningCard(reader, description, process, _connect(control, process))
        self.cards.append(running)
        return running

    def _configure(self) -> None:
        conf = self.folder / "conf"
        conf.mkdir(exist_ok=True)
        for number, name in enumerate(self.names):
            port = _FIRST_PORT + 2 * number
            # vpcd keeps its slots in static memory: each reader needs a driver file of its own.
            driver = self.folder / f"driver-{number}.so"
            if name in self.pin_pads:
                source = ROOT / "tests" / "cards" / "pinpad_driver.c"
                command = ["cc", "-shared", "-fPIC", "-I/usr/include/PCSC", "-o", driver, source, "-ldl"]
                subprocess.run(command, check=True, capture_output=True)
                shutil.copy(DRIVER, self._beside(driver, "vpcd"))
            else:
                shutil.copy(DRIVER, driver)
            (conf / name.replace(" ", "_")).write_text(
                f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {driver}\nCHANNELID 0x{port:X}\n'
            )

    @staticmethod
    def _beside(driver: Path, what: str) -> Path:
        return driver.with_name(f"{driver.name}.{what}")

    def _listens(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket_path))
        except OSError:
            return False
        return True


@dataclass
class RunningCard:
    """A card program and the wire to steer it."""

    reader: str
    description: dict[str, Any]
    process: subprocess.Popen[bytes]
    control: socket.socket

    def __post_init__(self) -> None:
        self._lines = self.control.makefile("rw", encoding="utf-8")

    def do(self, what: str, **details: Any) -> dict[str, Any]:
        """Ask the program for something; see `tests.cards.program`."""
        self._lines.write(json.dumps({"do": what, **details}) + "\n")
        self._lines.flush()
        answer: dict[str, Any] = json.loads(self._lines.readline())
        assert "error" not in answer, answer
        return answer

    def become(self, **description: Any) -> None:
        """Be another card, which is not inserted yet."""
        self.do("become", card=description)
        self.description = description

    @property
    def usable(self) -> bool:
        """Whether the program still runs."""
        return self.process.poll() is None and not self._lines.closed

    def stop(self) -> None:
        """End the program; the card leaves the slot."""
        self._lines.close()
        self.control.close()
        self.process.kill()
        self.process.wait(10)


def _connect(control: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        wire = socket.socket(socket.AF_UNIX)
        try:
            wire.connect(str(control))
            wire.settimeout(20)
            return wire
        except OSError:
            wire.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The card program did not start.") from None
            time.sleep(0.01)


def _become_pcscd(folder: Path) -> None:
    """Bring the loopback up, bind the socket as systemd would, and turn into pcscd, to end with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = bytearray(struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("H", request, 16)[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    # pcscd wants the folder to be there, though with socket activation it writes nothing of use into it.
    Path("/run/pcscd").mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "pcscd.comm"))
    listener.listen(64)
    os.dup2(listener.fileno(), 3, inheritable=True)
    os.set_inheritable(3, True)
    os.closerange(4, 64)
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    # From 2.0 on, pcscd asks polkit, which does not run everywhere that these tests do.
    has_polkit = b"--disable-polkit" in subprocess.run([PCSCD, "--help"], capture_output=True, check=False).stdout
    options = ["--disable-polkit"] if has_polkit else []
    os.execve(PCSCD, ["pcscd", "-f", "-e", "-c", str(folder / "conf"), *options], environment)


if __name__ == "__main__":
    _become_pcscd(Path(sys.argv[1]))
