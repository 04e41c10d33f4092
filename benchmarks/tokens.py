"""Signing on a SoftHSM key (RSA-2048, PKCS#1 v1.5, SHA-256), beside a bare python-pkcs11 loop in the same process.

What the deadlines cost is measured with the same key and the same code, except that the calls are made in the caller's
thread, inside the gate, and nothing looks at the clock. By the clock, the two are compared twice: as the machine places
the threads, and with all threads on one processor, which leaves out the time in which a sleeping processor wakes up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Attribute, Mechanism, ObjectClass

import tokens
from benchmarks.bare import open_bare_session
from benchmarks.deadlines import direct_calls
from benchmarks.processors import one_processor
from benchmarks.rows import Row, in_turns, processor_seconds
from tests import softhsm
from tokens.pkcs11.connection import Connection

SIGNATURES = 100
TURNS = 61  # many and short: the differences are small beside what a busy machine does to one turn
DATA = b"x" * 64


def run() -> Iterator[Row]:
    """The wrapper's cost on one thread, what a second thread brings, and the cost of a module in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        softhsm.provision(Path(folder))
        os.environ["TOKENS_STATE"] = f"{folder}/state"
        token = softhsm.new_token()
        uri = token.generate("node")
        with (
            tokens.open_key(uri) as key,
            tokens.open_key(uri, isolation="process") as isolated_key,
            tokens.open_token(token.uri()) as connection,
        ):
            for one in (key, isolated_key):
                one.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
            bare_key = _bare_key(connection)

            def bare() -> None:
                for _ in range(SIGNATURES):
                    bare_key.sign(DATA, mechanism=Mechanism.SHA256_RSA_PKCS)

            def ours() -> None:
                for _ in range(SIGNATURES):
                    key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())

            def without_deadlines() -> None:
                with direct_calls(key.device._connection.module):
                    ours()

            def isolated() -> None:
                for _ in range(SIGNATURES):
                    isolated_key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())

            def two_threads(job: Callable[[], None]) -> None:
                with ThreadPoolExecutor(2) as pool:
                    for done in [pool.submit(job) for _ in range(2)]:
                        done.result()

            jobs = {
                "bare": bare,
                "ours": ours,
                "without deadlines": without_deadlines,
                "isolated": isolated,
                "two": partial(two_threads, ours),
                "two isolated": partial(two_threads, isolated),
            }
            seconds = in_turns(jobs, TURNS)
            alone = {name: jobs[name] for name in ("bare", "ours", "without deadlines")}
            spent = processor_seconds(alone, TURNS)
            with one_processor():
                close = in_turns(alone, TURNS)
    rate = {name: SIGNATURES * (2 if name.startswith("two") else 1) / seconds[name] for name in jobs}
    yield Row(
        "signatures a second, 1 thread, beside bare python-pkcs11",
        f"{rate['ours']:.0f}",
        f"{rate['bare']:.0f}",
        rate["ours"] / rate["bare"],
        ">= 0.85",
    )
    yield Row(
        "signatures a second, 1 thread, with deadlines beside the same calls without",
        f"{rate['ours']:.0f}",
        f"{rate['without deadlines']:.0f}",
        rate["ours"] / rate["without deadlines"],
        ">= 0.95",
    )
    for peer, what, wanted in (
        ("bare", "beside bare python-pkcs11", ">= 0.85"),
        ("without deadlines", "with deadlines beside the same calls without", ">= 0.95"),
    ):
        yield Row(
            f"signatures a processor second, 1 thread, {what}",
            f"{SIGNATURES / spent['ours']:.0f}",
            f"{SIGNATURES / spent[peer]:.0f}",
            spent[peer] / spent["ours"],
            wanted,
        )
        yield Row(
            f"signatures a second, 1 thread on one processor, {what}",
            f"{SIGNATURES / close['ours']:.0f}",
            f"{SIGNATURES / close[peer]:.0f}",
            close[peer] / close["ours"],
            wanted,
        )
    yield Row(
        "signatures a second, 2 threads, beside 1 thread",
        f"{rate['two']:.0f}",
        f"{rate['ours']:.0f}",
        rate["two"] / rate["ours"],
        ">= 1.4",
    )
    for threads, isolated_rate, in_process in (
        ("1 thread", rate["isolated"], rate["ours"]),
        ("2 threads", rate["two isolated"], rate["two"]),
    ):
        yield Row(
            f'signatures a second, {threads}, with isolation = "process" beside in-process',
            f"{isolated_rate:.0f}",
            f"{in_process:.0f}",
            isolated_rate / in_process,
        )


def _bare_key(connection: Connection) -> Any:
    """python-pkcs11's own key object in a session that nobody else uses."""
    (key,) = open_bare_session(connection).get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    return key
