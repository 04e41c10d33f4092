"""The command of a hospital that is started for each report, with one JSON object on its standard input.

It is started without a shell, in a session of its own, in the folder /, with none of this process's files open. Its
environment has the few variables that programs need to run. PINs from the environment and the credentials of systemd
are not among them.

`subprocess` starts it by vfork and exec, which neither waits for a call into a PKCS#11 module nor is refused while one
hangs (`tokens.process.forking`): just then somebody must be told.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, cast

from hsm_dicom.errors import DicomError

_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TZ", "USER")
_LOOK_SECONDS = 0.05
_KEPT_OUTPUT, _LONGEST_REASON = 2048, 200
_STOP_SECONDS = 2.0
"""How long a command may go on when the gateway stops."""


class AlarmError(DicomError):
    """An alarm could not be delivered."""


def run_command(command: Sequence[str], document: bytes, seconds: float, stopping: threading.Event) -> None:
    """Start the command, write the document to it, and wait until it has ended.

    After `seconds`, or 2 seconds after `stopping` is set, its process group is killed. Raises `AlarmError` if it cannot
    be started, is killed, or ends with another status than 0; its first line on standard error is part of the message.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=make_environment(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        raise AlarmError(
            f"{command[0]} cannot be started ({error.strerror}).",
            remedy="Correct command in [alarms], and see that the user of the gateway may execute the program.",
        ) from error
    with process:
        try:
            said = _attend(process, document, seconds, stopping)
        except TimeoutError:
            raise AlarmError(
                f"{command[0]} did not end within {seconds:g} seconds and was killed.",
                remedy="See why it waits, or raise seconds in [alarms].",
            ) from None
        finally:
            _kill_group(process)
    if process.returncode:
        ended = f"by signal {-process.returncode}" if process.returncode < 0 else f"with status {process.returncode}"
        why = f": {said}" if said else ""
        raise AlarmError(f"{command[0]} ended {ended}{why}.", remedy="See the program's own log.")


def make_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that a command gets."""
    kept = {name: environment[name] for name in _KEPT_VARIABLES if name in environment}
    return {"PATH": os.defpath, **kept}


def _attend(process: subprocess.Popen[bytes], document: bytes, seconds: float, stopping: threading.Event) -> str:
    """Write the document and read standard error until the process ends; return its first line.

    What it starts and leaves behind may keep both pipes open, so their ends are not waited for.
    """
    stdin, stderr = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stderr)
    deadline, has_less_time = time.monotonic() + seconds, False
    left, said = memoryview(document), b""
    with selectors.DefaultSelector() as selector:
        for pipe, wanted in ((stdin, selectors.EVENT_WRITE), (stderr, selectors.EVENT_READ)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, wanted)
        while True:
            has_ended = process.poll() is not None
            for key, _ in selector.select(0 if has_ended else _LOOK_SECONDS):
                if key.fileobj is stdin:
                    left = _write(stdin.fileno(), left)
                    if not left:
                        selector.unregister(stdin)
                        stdin.close()
                else:
                    piece = _read(stderr.fileno())
                    if not piece:
                        selector.unregister(stderr)
                    said = (said + piece)[:_KEPT_OUTPUT]
            if has_ended:
                return said.decode("utf-8", "replace").strip().partition("\n")[0][:_LONGEST_REASON]
            if stopping.is_set() and not has_less_time:
                deadline, has_less_time = min(deadline, time.monotonic() + _STOP_SECONDS), True
            if time.monotonic() > deadline:
                raise TimeoutError


def _write(descriptor: int, left: memoryview) -> memoryview:
    try:
        return left[os.write(descriptor, left) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:  # it does not read its input, which is its own affair
        return left[:0]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _KEPT_OUTPUT)
    except BlockingIOError:
        return b""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
