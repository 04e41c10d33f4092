"""Podman from Debian, in a root and namespaces of its own: nothing of it is installed on, or runs on, this machine.

    with Engine(root, {"/clone": clone}) as engine:
        engine.run("podman images")

Containers with `--network host` share the network of the engine, which has a loopback interface alone. Needs root.
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

START_SECONDS = 30.0

_NEW_NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child")
_ENTER = r"""
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t sysfs sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"  # crun refuses a hybrid hierarchy
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/run"
ip link set lo up
while [ $# -gt 0 ]; do
  mkdir -p "$ROOT$1"
  mount --bind "$2" "$ROOT$1"
  shift 2
done
# Not by chroot: `podman exec` would then find the root of this machine.
cd "$ROOT"
pivot_root . mnt
umount --lazy /mnt
exec chroot . catatonit -P
"""


class Engine:
    """Podman that runs while the block does. `shares` maps folders inside to those outside."""

    def __init__(self, root: Path, shares: Mapping[str, Path]) -> None:
        arguments = [str(part) for pair in shares.items() for part in pair]
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--pid",
                "--net",
                "--fork",
                "--kill-child",
                "sh",
                "-euc",
                _ENTER,
                "enter",
                *arguments,
            ],
            env={**os.environ, "ROOT": str(root)},
        )
        self.leader = 0
        """The process that holds the namespaces."""

    def __enter__(self) -> Self:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._holder.poll() is None:
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/comm").read_text() == "catatonit\n":
                self.leader = int(found[0])
                return self
            time.sleep(0.1)
        self._end()
        raise AssertionError("The engine did not start.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run("podman rm --all --force --time 1", status=None)
        finally:
            self._end()

    def run(self, command: str, *, status: int | None = 0, online: bool = False, seconds: float = 300.0) -> str:
        """Run a command of the shell as root beside the containers, and return what it prints, errors included.

        With `online` it has the network of this machine. Raises AssertionError if it ends with another status than
        `status`; None permits any.
        """
        namespaces = ["--mount", "--pid", *([] if online else ["--net"])]
        enter = ["nsenter", f"--target={self.leader}", *namespaces, "--root", "--wd"]
        shell = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
        done = subprocess.run(
            [*enter, *shell, "bash", "-euo", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )  # fmt: skip
        if status is not None and done.returncode != status:
            raise AssertionError(f"{command}\nended with {done.returncode}:\n{done.stdout}")
        # There is no systemd, which would call the health check by a timer.
        return "".join(line for line in done.stdout.splitlines(True) if "get systemd connection" not in line)

    def outside(self, command: list[str]) -> list[str]:
        """Return a command of this machine so that it uses the network of the engine."""
        return ["nsenter", f"--target={self.leader}", "--net", *command]

    def _end(self) -> None:
        if self.leader:
            os.kill(self.leader, signal.SIGTERM)  # the first process of the namespace: all others end with it
        else:
            self._holder.terminate()
        self._holder.wait(30)
