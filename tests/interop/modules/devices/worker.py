"""A process that carries out behaviours on a device, one after the other: `Worker.run(behaviours.sign_rsa, …)`.

A behaviour is a function of a module that the process can import. Its first parameter is the `Place`; its other
arguments and its result are what JSON can hold. An exception of it is an AssertionError of the test.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.interop.modules.devices.device import Device, Place

ROOT = Path(__file__).resolve().parents[4]


class Worker:
    """The process, and the pipes to it. It is started with the first behaviour."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.device = device
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def run(self, behaviour: Callable[..., Any], *arguments: Any, timeout: float = 60.0) -> Any:
        """Carry out a behaviour and return its result; it must end within `timeout` seconds."""
        self.begin(behaviour, *arguments)
        return self.end(timeout)

    def begin(self, behaviour: Callable[..., Any], *arguments: Any) -> None:
        """Start a behaviour, whose result `end` returns."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([behaviour.__module__, behaviour.__name__, *arguments]) + "\n")
        self.process.stdin.flush()

    def end(self, timeout: float = 60.0) -> Any:
        """Return the result of the behaviour that was begun."""
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise AssertionError(f"no result within {timeout} seconds: {self._log.read_text()}")
        result = json.loads(line)
        assert "failure" not in result, result["failure"]
        return result["done"]

    def close(self) -> None:
        """End the process at once; the next behaviour starts another one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self.process = None

    @property
    def _log(self) -> Path:
        return self.folder / "worker.log"

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("ab") as log:
            return self.device.begin(
                [sys.executable, "-X", "faulthandler", "-m", __name__, json.dumps(asdict(self.device.place))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )


def main() -> None:
    """Carry out what the lines of standard input ask for, until it ends."""
    place = Place(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        module, name, *arguments = json.loads(line)
        try:
            result = {"done": getattr(importlib.import_module(module), name)(place, *arguments)}
        except Exception:
            result = {"failure": traceback.format_exc()}
        answers.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
