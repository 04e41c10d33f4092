"""A key on a token of the proxy module, which runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tokens
from tests.softhsm import TestToken
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign
from tokens.deadlines import CallDeadlines
from tokens.errors import TokenLostError
from tokens.keys import PrivateKey

SHORT = CallDeadlines(session=1.0, sign=0.5, login=1.0)


@dataclass
class IsolatedKeys:
    """Opens keys in isolation, and closes them at the end of the test."""

    proxy: Proxy
    opened: list[PrivateKey] = field(default_factory=list)

    def open(self, token: TestToken, label: str = "key", **options: Any) -> Any:
        """Open a key behind the proxy."""
        options = {"isolation": "process", "deadlines": SHORT, **options}
        self.opened.append(tokens.open_key(self.proxy.serving(token.uri(label)), **options))
        return self.opened[-1]


def pid_of(key: Any) -> int:
    """The process in which the key's module runs."""
    pid: int = key.device._connection.module.pid
    return pid


@pytest.fixture
def isolated(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedKeys]:
    """Opens keys behind the proxy, which this process never loads itself."""
    for name, value in proxy.environment(counted=True).items():
        monkeypatch.setenv(name, value)
    keys = IsolatedKeys(proxy)
    yield keys
    for key in keys.opened:
        key.close()


@pytest.fixture
def key(token: TestToken, isolated: IsolatedKeys) -> Any:
    token.generate("key")
    return isolated.open(token)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def fails_within(seconds: float, key: Any) -> TokenLostError:
    began = time.monotonic()
    with pytest.raises(TokenLostError) as failed:
        sign(key)
    assert time.monotonic() - began < seconds
    return failed.value


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
