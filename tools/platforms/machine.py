"""A Debian machine for tests: a root of make-root that systemd-nspawn boots, without a network and without a trace.

    with Machine(root, {"/root/hsm-dicom": clone}) as machine:
        print(machine.run("systemctl is-system-running"))

Changes stay in memory and end with the machine. Needs root, and Debian's systemd-container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

BOOT_SECONDS = 120.0
END_SECONDS = 60.0
_POWER_OFF = signal.SIGRTMIN + 4
"""What systemd, as process 1, takes as a request to end (systemd(1))."""

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


class Machine:
    """A machine that runs while the block does. `shares` maps folders inside to those outside, read-only."""

    def __init__(self, root: Path, shares: Mapping[str, Path]) -> None:
        command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--volatile=overlay"]
        command += ["--private-network", "--register=no", "--keep-unit", "--console=pipe"]
        # What nspawn forbids, and a machine permits: reading the state of the clock, and the kernel's programs by which
        # systemd restricts devices (DeviceAllow=) and addresses (IPAddressDeny=).
        command += ["--system-call-filter=adjtimex clock_adjtime bpf"]
        command += [f"--bind-ro={outside}:{inside}" for inside, outside in shares.items()]
        # systemd from 256 on refuses the legacy and hybrid hierarchies, which nspawn would copy from the host.
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self._console = root.with_suffix(".console").open("w")
        self._nspawn = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=self._console, stderr=subprocess.STDOUT
        )
        self._leader = 0

    def __enter__(self) -> Self:
        try:
            self._await_boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, command: str, *, stdin: str = "", status: int | None = 0, seconds: float = 120.0) -> str:
        """Run a command of the shell as root, and return what it prints, standard error included.

        Raises AssertionError if it ends with another status than `status`; None permits any.
        """
        shell = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        shell += [
            "SYSTEMD_COLORS=0",
            "SYSTEMD_PAGER=cat",
            "LANG=C.UTF-8",
            "bash",
            "-euo",
            "pipefail",
            "-c",
            f"cd\n{command}",
        ]
        enter = ["nsenter", f"--target={self._leader}", *_NAMESPACES]
        done = subprocess.run(
            [*enter, *shell], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
        )
        if status is not None and done.returncode != status:
            raise AssertionError(f"{command}\nended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders above it."""
        self.run(f'mkdir -p "$(dirname {path})" && cat > {path}', stdin=text)

    def eventually(self, command: str, seconds: float = 30.0) -> str:
        """Repeat a command until it succeeds, and return what it printed. Raises AssertionError after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self.run(command)
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.3)

    def _await_boot(self) -> None:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until and self._nspawn.poll() is None:
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/comm").read_text() == "systemd\n":
                self._leader = int(found[0])
                if self.run("systemctl is-system-running", status=None).strip() in ("running", "degraded"):
                    return
            time.sleep(0.3)
        raise AssertionError(f"The machine did not boot. Its console:\n{Path(self._console.name).read_text()[-3000:]}")

    def _end(self) -> None:
        if self._leader and self._nspawn.poll() is None:
            os.kill(self._leader, _POWER_OFF)
        else:
            self._nspawn.terminate()
        try:
            self._nspawn.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._console.close()
