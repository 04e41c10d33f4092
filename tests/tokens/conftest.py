"""What the tests of the token layer may use besides."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.tokens import proxy as proxies
from tests.tokens.proxy import Proxy
from tokens import DeviceManager
from tokens import manager as managers


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceManager]:
    """The device manager of one test, which is the default one and closed at its end: no test inherits a connection."""
    with DeviceManager() as manager:
        monkeypatch.setattr(managers, "_default", manager)
        yield manager


@pytest.fixture(scope="session")
def proxy_module(softhsm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module that notes PINs, built once."""
    return proxies.build(tmp_path_factory.mktemp("proxy"))


@pytest.fixture
def proxy(proxy_module: Path, tmp_path: Path, softhsm: Path, state_folder: Path) -> Proxy:
    """SoftHSM behind that module, with notes and a state folder of one test."""
    return Proxy(proxy_module, tmp_path)


@pytest.fixture
def bounded() -> Iterator[None]:
    """End a test that hangs."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("The test took too long.")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
