"""SoftHSM behind `p11-kit server`: a token at the other end of a connection that can break, or hang."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.packages import read_version
from tests.pausing import wait_until_paused
from tests.softhsm import MODULE, TestToken

CLIENT = next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"), Path("/usr/lib/pkcs11/p11-kit-client.so"))


PASSES_PARAMETERS = read_version("p11-kit") >= (0, 25)
"""Whether p11-kit passes the parameters of DES-CBC and of PSS with a hash, which older versions refuse."""


class Server:
    """`p11-kit server` for one token, on a socket of its own."""

    def __init__(self, folder: Path, token: TestToken, environment: Mapping[str, str] | None = None) -> None:
        self.socket = folder / "p11-kit.socket"
        self.token = token
        self.environment = {**os.environ, **(environment or {}), "XDG_RUNTIME_DIR": str(folder)}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def client_environment(self) -> dict[str, str]:
        """The environment variable with which a client finds it."""
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                "p11-kit",
                "server",
                "-f",
                "--provider",
                MODULE,
                "-n",
                self.socket,
                f"pkcs11:token={self.token.label.replace(' ', '%20')}",
            ],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while not self._accepts():
            assert time.monotonic() < deadline, "p11-kit server did not start"
            time.sleep(0.02)

    def _accepts(self) -> bool:
        """Return whether connections are accepted, which is later than that there is a socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to the children that it made for connections, such as SIGSTOP: it hangs."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def pause(self) -> None:
        """Stop it: it keeps its connections and does not answer."""
        self.signal(signal.SIGSTOP)
        if self.process is not None:
            wait_until_paused(self.process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, and the connections through it."""
        if self.process is not None:
            # The server forks a child for each client; they are a session of their own, and end together.
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
