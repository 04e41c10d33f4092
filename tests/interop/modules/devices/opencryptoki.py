"""opencryptoki's software token, with its daemon `pkcsslotd`, in namespaces of their own.

The library and the daemon have fixed places: /etc/opencryptoki, /var/lib/opencryptoki, /run (a socket), /run/lock, the
group pkcs11, a segment of System V shared memory, and one in /dev/shm. A mount and an IPC namespace give each test its
own, and a user namespace lets any user do so, who is root in it.

The daemon demands to be root, or, since 3.21, to be the user `pkcsslotd` and not root. Then it gets another user
namespace, in which the same user has that name; its socket belongs to the same user on either side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.interop.modules import behaviours
from tests.interop.modules.devices.device import Device, Place
from tests.interop.modules.devices.worker import Worker
from tests.packages import read_version
from tests.pausing import pause
from tests.tokens import scenes

MODULE = next(Path("/usr/lib").glob("*/pkcs11/libopencryptoki.so"), Path("/usr/lib/pkcs11/libopencryptoki.so"))
PIN = "73110523"
SO_PIN = "87654321"
"""The PIN that the maker gives to every new token."""

CONFIGURATION = """version opencryptoki-3.1
slot 0
{
stdll = libpkcs11_sw.so
}
"""
STRENGTHS = "version strength-0\n" + "".join(
    f"strength {bits} {{ MOD_EXP = {rsa} ECC = {ec} SYMMETRIC = {bits} digest = {ec} signature = {bits} }}\n"
    for bits, rsa, ec in ((112, 2048, 224), (128, 3072, 256), (192, 7680, 384), (256, 15360, 512))
)
"""Since 3.17 the library demands this file, and that nobody but root may write it."""

OWN_USER = read_version("opencryptoki") >= (3, 21)
"""Whether the daemon demands a user of its own."""

DAEMON = ["setpriv", "--pdeathsig", "KILL", "pkcsslotd", "-f"]
UNDER_ITS_NAME = ["unshare", "--user", "--map-user=1", "--map-group=1", *DAEMON]
NAMES = 'cd "$0"; mount --bind passwd-1 /etc/passwd; mount --bind group-1 /etc/group; exec "$@"'

MOUNTS = """
mount --bind etc /etc/opencryptoki
mount --bind lib /var/lib/opencryptoki
mount --bind passwd-0 /etc/passwd
mount --bind group-0 /etc/group
mount --bind run /run
mount -t tmpfs tmpfs /dev/shm
echo ready
exec cat
"""
"""It ends with its standard input, so that the namespaces never outlive the tests."""


class Slotd:
    """The namespaces, and `pkcsslotd` in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        for name in ("etc", "lib/swtok/TOK_OBJ", "run/lock/opencryptoki/swtok", "run/opencryptoki"):
            (folder / name).mkdir(parents=True)
        (folder / "etc" / "opencryptoki.conf").write_text(CONFIGURATION)
        (folder / "etc" / "strength.conf").write_text(STRENGTHS)
        (folder / "etc" / "strength.conf").chmod(0o640)
        for number in (0, 1):
            (folder / f"passwd-{number}").write_text(f"root:x:0:0:::\npkcsslotd:x:{number}:{number}:::\n")
            (folder / f"group-{number}").write_text(f"root:x:0:\npkcs11:x:{number}:\n")
        unshare, self._which = (["-mi"], ["-m", "-i"]) if os.geteuid() == 0 else (["-Urmi"], ["-U", "-m", "-i"])
        self.keeper = subprocess.Popen(
            ["unshare", *unshare, "sh", "-euc", MOUNTS],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.keeper.stdout is not None
        assert self.keeper.stdout.readline() == b"ready\n", "no namespace may be made here"

    @property
    def enter(self) -> list[str]:
        """The command before a program that has to be in the namespaces."""
        return ["nsenter", f"--target={self.keeper.pid}", *self._which, "--preserve-credentials", f"--wd={Path.cwd()}"]

    def start(self) -> None:
        socket = self.folder / "run" / ("opencryptoki" if OWN_USER else "") / "pkcsslotd.socket"
        socket.unlink(missing_ok=True)
        command = DAEMON
        if OWN_USER:
            command = ["unshare", "--mount", "sh", "-euc", NAMES, str(self.folder), *UNDER_ITS_NAME]
        self.process = subprocess.Popen(
            [*self.enter, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        scenes.until(socket.exists)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        pause(self.process.pid)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the daemon, and with the last process in them, the namespaces."""
        self.kill()
        self.keeper.communicate()


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Worker]:
    """Provide a process that uses an empty token, and its daemon."""
    with contextlib.closing(Slotd(folder)) as slotd:
        slotd.start()
        state = {"TOKENS_STATE": str(folder / "state"), "HSM_DICOM_STATE": str(folder / "state")}
        made = Device("opencryptoki", Place(str(MODULE), "crypto"), PIN, state, slotd.enter, slotd)
        with contextlib.closing(Worker(made, folder)) as worker:
            # A new token has a label already, which a person has to confirm.
            worker.run(behaviours.initialise, SO_PIN, "pkcs11:slot-id=0")
            yield worker
