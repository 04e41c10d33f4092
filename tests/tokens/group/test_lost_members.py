"""A group of a token behind a connection that breaks, or hangs, and of a local one; in a process of its own.

The remote token is the first in order. Its module is p11-kit's client, its keys are behind `p11-kit server`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote import CLIENT, Server
from tests.tokens import scenes
from tests.tokens.group.conftest import Copies, new_copies

PRELUDE = """
import time
from tokens.events import FailedOver, KeyUse, Restored, subscribe
heard, restored = [], threading.Event()
def note(event):
    heard.append(event)
    if isinstance(event, Restored):
        restored.set()
def signer():
    "Which of the two tokens signs now."
    sign(key)
    return ("far", "near")[next(event for event in reversed(heard) if isinstance(event, KeyUse)).token_serial != far]
def states():
    "The states; a probe may be in progress, or not."
    return " ".join(member.state.value for member in key.device.members).replace("half-open", "open")
def ask(what):
    print(what, flush=True)
    sys.stdin.readline()
far = uris.pop()
with tokens.open_key_group(uris, name="node", probe_seconds=0.2) as key, subscribe(note):
"""


class Scene:
    """The process, and what it says and waits for."""

    def __init__(self, server: Server, copies: Copies, code: str) -> None:
        first = f"pkcs11:token={server.token.label.replace(' ', '%20')};object=node?module-path={CLIENT}"
        uris = [f"{first}&pin-source={server.token.pin}", str(copies.uris[1]), server.token.serial]
        body = PRELUDE + "\n".join(f"    {line}" for line in code.strip().splitlines())
        self._process = scenes.begin(body, *uris, environment=environment(server))

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> list[str]:
        return scenes.end(self._process)


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "P11_KIT_SERVER_ADDRESS": f"unix:path={server.socket}"}


@pytest.fixture(scope="module")
def pair(softhsm: Path) -> Copies:
    return new_copies("far", "near")


@pytest.fixture
def server(pair: Copies, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, pair.tokens[0])
    made.start()
    yield made
    made.kill()


def test_a_connection_that_is_lost_costs_no_signature_and_is_used_again_when_it_is_back(
    server: Server, pair: Copies
) -> None:
    scene = Scene(
        server,
        pair,
        """
print(signer(), states())
ask("kill")
began = time.perf_counter()
print(signer(), states())
print(f"{(time.perf_counter() - began) * 1000:.0f} ms", file=sys.stderr)
print([event.serving for event in heard if isinstance(event, FailedOver)])
ask("start")
restored.wait(20)
print(signer(), states())
""",
    )
    assert [scene.line(), scene.line()] == ["far closed closed", "kill"]
    server.kill()
    scene.go_on()
    assert [scene.line(), scene.line(), scene.line()] == ["near open closed", "[('near',)]", "start"]
    server.start()
    scene.go_on()
    assert scene.end() == ["far closed closed"]


def test_threads_that_sign_while_the_connection_breaks_and_returns_lose_nothing(server: Server, pair: Copies) -> None:
    scene = Scene(
        server,
        pair,
        """
failed, count = [], 0
def work():
    global count
    while not restored.is_set():
        try:
            sign(key)
            count += 1
        except TokenError as error:
            failed.append(error)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
time.sleep(0.2)
ask("kill")
for thread in threads: thread.join(20)
print(failed, count > 4, states())
""",
    )
    assert scene.line() == "kill"
    server.kill()
    scene.go_on()
    time.sleep(0.3)
    server.start()
    assert scene.end() == ["[] True closed closed"]


def test_a_token_that_is_away_at_the_start_is_opened_when_it_comes(server: Server, pair: Copies) -> None:
    server.kill()
    scene = Scene(
        server,
        pair,
        """
print(signer(), states())
ask("start")
restored.wait(20)
print(signer(), states())
""",
    )
    assert [scene.line(), scene.line()] == ["near open closed", "start"]
    server.start()
    scene.go_on()
    assert scene.end() == ["far closed closed"]


def test_a_token_that_hangs_costs_one_deadline_and_no_signature_and_is_used_again_when_it_answers(
    server: Server, pair: Copies
) -> None:
    scene = Scene(
        server,
        pair,
        """
print(signer(), states())
ask("stop")
began = time.perf_counter()
print(signer(), states())
first = time.perf_counter() - began
began = time.perf_counter()
for _ in range(20):
    sign(key)
rest = time.perf_counter() - began
print(f"{first:.3f} s, then {rest:.3f} s", file=sys.stderr)
print(first < 8, rest < 4, issubclass(key.device.members[0].fault.kind, tokens.TokenLostError))
ask("continue")
restored.wait(20)
print(signer(), states())
""",
    )
    assert [scene.line(), scene.line()] == ["far closed closed", "stop"]
    server.signal(signal.SIGSTOP)
    scene.go_on()
    lines = [scene.line(), scene.line(), scene.line()]
    server.signal(signal.SIGCONT)
    assert lines == ["near open closed", "True True True", "continue"]
    scene.go_on()
    assert scene.end() == ["far closed closed"]


def test_a_token_that_hangs_when_its_connection_is_back_does_not_delay_a_signature(
    server: Server, pair: Copies
) -> None:
    scene = Scene(
        server,
        pair,
        """
print(signer(), states())
ask("start and stop")
began = time.perf_counter()
for _ in range(20):
    sign(key)
print(time.perf_counter() - began < 5)  # C_Initialize would be left after 10 seconds
print(states())
ask("continue")
restored.wait(20)
print(signer(), states())
""",
    )
    assert [scene.line(), scene.line()] == ["far closed closed", "start and stop"]
    server.kill()
    server.start()
    server.signal(signal.SIGSTOP)
    scene.go_on()
    lines = [scene.line(), scene.line(), scene.line()]
    server.signal(signal.SIGCONT)
    assert lines == ["True", "open closed", "continue"]
    scene.go_on()
    assert scene.end() == ["far closed closed"]
