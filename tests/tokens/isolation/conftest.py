"""A key on a token of the proxy module, which runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import tokens
from tests.softhsm import TestToken
from tests.tokens.proxy import Proxy
from tokens.deadlines import CallDeadlines
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
