"""Two tokens of one module, each in a process of its own: one hangs or crashes, and the other one takes over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tokens
from tests.tokens.group.conftest import Copies, new_copies
from tests.tokens.isolation.conftest import SHORT, IsolatedKeys
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign, until
from tokens.events import FailedOver, subscribe
from tokens.group.breaker import BreakerState

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def pair(softhsm: object) -> Copies:
    return new_copies("left-isolated", "right-isolated")


@pytest.fixture
def group(isolated: IsolatedKeys, proxy: Proxy, pair: Copies) -> Iterator[Any]:
    uris = [proxy.serving(uri) for uri in pair.uris]
    with tokens.open_key_group(uris, isolation="process", deadlines=SHORT, background=False) as key:
        yield key


def members(group: Any) -> Any:
    return group.device._pool.members


def pids(group: Any) -> list[int]:
    return [member.device._connection.module.pid for member in members(group)]


def test_each_token_has_its_process(group: Any) -> None:
    sign(group)
    assert len({*pids(group), os.getpid()}) == 3


def test_a_token_that_hangs_fails_over_and_does_not_disturb_the_other(group: Any, proxy: Proxy, pair: Copies) -> None:
    sign(group)
    other = pids(group)[1]
    failovers: list[FailedOver] = []
    proxy.rule(f"* token={pair.tokens[0].label} hang=1")
    with subscribe(failovers.append, FailedOver), ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        for done in [pool.submit(sign, group) for _ in range(40)]:
            done.result()
        assert time.monotonic() - began < 5.0
    assert len(failovers) == 1
    assert members(group)[0].state is not BreakerState.CLOSED
    assert pids(group)[1] == other
    proxy.rule()


def test_a_token_whose_process_always_ends_fails_over(group: Any, proxy: Proxy, pair: Copies) -> None:
    sign(group)
    first, other = pids(group)
    proxy.rule(f"C_OpenSession token={pair.tokens[0].label} rv=0x30")
    os.kill(first, signal.SIGKILL)
    sign(group)
    until(lambda: members(group)[0].state is not BreakerState.CLOSED)
    assert pids(group)[1] == other
