"""The devices of `tests.interop.modules.devices`, each for the tests of one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.interop.modules.devices import nss, opencryptoki, p11_kit, softhsm, tpm
from tests.interop.modules.devices.worker import Worker

DEVICES: dict[str, Callable[[Path], AbstractContextManager[Worker]]] = {
    "softhsm": softhsm.device,
    "isolated": partial(softhsm.device, name="isolated", isolation="process"),
    "nss": nss.device,
    "p11-kit": p11_kit.device,
    "opencryptoki": opencryptoki.device,
    "tpm": tpm.device,
}
"""Each provides a process that uses an empty token, and ends its daemons."""


@pytest.fixture(scope="module")
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A process that uses an empty token; the parameter is the module's name in `DEVICES`."""
    with DEVICES[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made
