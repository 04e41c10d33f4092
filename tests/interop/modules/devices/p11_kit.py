"""SoftHSM behind `p11-kit server`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.interop.modules.devices import softhsm
from tests.interop.modules.devices.worker import Worker
from tests.remote import CLIENT, Server
from tests.softhsm import TestToken


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Worker]:
    """Provide a process that uses an empty token, and its server."""
    with softhsm.device(folder) as local:
        token = local.device
        local.close()
        server = Server(folder, TestToken(token.place.token, "", "", ""), token.environment)
        server.start()
        environment = {**token.environment, **server.client_environment}
        place = replace(token.place, module=str(CLIENT))
        remote = replace(token, name="p11-kit", place=place, environment=environment, daemon=server)
        try:
            with contextlib.closing(Worker(remote, folder)) as worker:
                yield worker
        finally:
            server.kill()
