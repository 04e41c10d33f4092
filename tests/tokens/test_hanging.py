"""Tokens that do not answer: callers leave at the deadline, and the process stays usable and able to end."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.proxy import Proxy

pytestmark = pytest.mark.usefixtures("bounded")

SCENE = """
import time
from pathlib import Path
from tokens.deadlines import CallDeadlines
from tokens.process import ending
RULES = Path(os.environ["PROXY_RULES"])
def rule(*lines):
    fresh = RULES.with_name("rules.new")
    fresh.write_text("".join(line + chr(10) for line in lines))
    fresh.rename(RULES)
def hurry(key, **seconds):
    connection = key.device._connection
    connection.deadlines = CallDeadlines(**{"session": 0.5, "sign": 0.5, "login": 1.0, **seconds})
    connection.module.use_deadlines(connection._token.slot_id, connection.deadlines)
    return connection.module
def wait_for(condition):
    until = time.monotonic() + 25  # the slots of every earlier test hang, too
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
def sign_in_threads(key, count):
    answers = []
    def note():
        try:
            sign(key)
        except TokenError as error:
            answers.append(type(error).__name__)
    threads = [threading.Thread(target=note) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    print(*sorted(answers), any(thread.is_alive() for thread in threads), sep=chr(10))
def timed(action):
    began = time.monotonic()
    said(action)
    print(time.monotonic() - began < 2.0)
"""


def play(proxy: Proxy, code: str, *uris: object) -> list[str]:
    return scenes.play(SCENE + code, *uris, environment=proxy.environment(counted=True))


@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign", "C_Sign after=1"])
def test_a_signature_that_hangs_is_left_and_the_token_is_used_again_when_it_answers(
    token: TestToken, proxy: Proxy, function: str
) -> None:
    code = f"""
key = tokens.open_key(uris[0])
sign(key)
module = hurry(key)
rule("{function} hang=1")
began = time.monotonic()
try:
    sign(key)
except TokenError as error:
    named = key.device._connection.token.label in str(error)
    print(type(error).__name__, time.monotonic() - began < 2.0, named)
wait_for(lambda: module.is_fenced)
timed(lambda: sign(key))
said(lambda: module.reinitialise(module.epoch))
try:
    os.fork()
except TokenError as error:
    print("no fork:", "C_Sign" in str(error))
rule()
wait_for(lambda: not ending.has_late_calls())
sign(key)
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
key.close()
tokens.default_manager().close()
"""
    said = play(proxy, code, proxy.serving(token.generate("key")))
    assert said == [
        "TokenTimeoutError True True", "ModuleFencedError", "True", "ModuleFencedError", "no fork: True",
    ]  # fmt: skip
    calls = proxy.calls()
    assert calls["C_OpenSession"] == calls["C_CloseSession"]
    assert calls["C_Finalize"] == calls["C_Initialize"]


def test_another_token_of_the_module_goes_on(token: TestToken, proxy: Proxy) -> None:
    other = new_token()
    code = """
hanging, working = (tokens.open_key(uri) for uri in uris)
sign(hanging), sign(working)
module = hurry(hanging)
rule(f"C_Sign slot={hanging.device._connection.token.slot_id} hang=1")
timed(lambda: sign(hanging))
time.sleep(0.3)
for _ in range(3):
    timed(lambda: sign(hanging))
    sign(working)
print(module.is_fenced)
working.close()
rule()
wait_for(lambda: not ending.has_late_calls())
sign(hanging)
"""
    uris = [proxy.serving(token.generate("key")), proxy.serving(other.generate("key"))]
    assert play(proxy, code, *uris) == ["TokenTimeoutError", "True"] * 4 + ["False"]


def test_every_thread_that_waits_for_a_token_leaves(token: TestToken, proxy: Proxy) -> None:
    code = """
key = tokens.open_key(uris[0])
hurry(key)
rule("C_Sign hang=1")
sign_in_threads(key, 8)
rule()
wait_for(lambda: not ending.has_late_calls())
sign(key)
"""
    *answers, alive = play(proxy, code, proxy.serving(token.generate("key")))
    assert len(answers) == 8
    assert set(answers) <= {"TokenTimeoutError", "ModuleFencedError"}
    assert alive == "False"


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("C_GetSlotList", "ModuleFencedError"),
        ("C_GetTokenInfo", "ModuleFencedError"),
        ("C_OpenSession", "ModuleFencedError"),
        ("C_FindObjectsInit", "ModuleFencedError"),
        ("C_GetAttributeValue", "ModuleFencedError"),
    ],
)
def test_opening_a_key_of_a_token_that_hangs_ends(token: TestToken, proxy: Proxy, function: str, kind: str) -> None:
    code = f"""
rule("{function} hang=1")
began = time.monotonic()
said(lambda: tokens.open_key(uris[0]))
print(time.monotonic() - began < 8)
wait_for(lambda: tokens.default_manager().tokens.module(Path(uris[1])).is_fenced)
said(lambda: tokens.open_key(uris[0]))
rule()
wait_for(lambda: not ending.has_late_calls())
sign(tokens.open_key(uris[0]))
"""
    uri = proxy.serving(token.generate("key"))
    assert play(proxy, code, uri, proxy.module) == ["TokenTimeoutError", "True", kind]


@pytest.mark.parametrize("hanging", [(1,), (0, 1)])
def test_slots_that_hang_while_a_token_is_searched_for_hide_no_other(proxy: Proxy, hanging: tuple[int, ...]) -> None:
    tokens = [new_token(f"searched-{place}-{len(hanging)}{hanging[0]}") for place in range(3)]
    rules = [f"C_GetTokenInfo token={tokens[place].label} hang=1" for place in hanging]
    code = f"""
from tokens.pkcs11.search import look
module = tokens.default_manager().tokens.module(Path(uris[3]))
module.cryptoki.use_deadlines(None, CallDeadlines(session=0.5))
rule(*{rules})
for uri in uris[:3]:
    timed(lambda: sign(tokens.open_key(uri)))
time.sleep(0.5)
print(module.is_fenced, *(failure.reason for failure in look(module).failures))
rule()
wait_for(lambda: not ending.has_late_calls())
print(len(look(module).failures))
for uri in uris[:3]:
    sign(tokens.open_key(uri))
"""
    played = play(proxy, code, *(proxy.serving(token.generate("key")) for token in tokens), proxy.module)
    outcomes = ["TokenTimeoutError" if place in hanging else "done" for place in range(3)]
    assert played[0:6:2] == outcomes
    assert played[6:] == [" ".join(["False", *["no answer"] * len(hanging)]), "0"]


def test_a_module_all_of_whose_slots_hang_is_left_and_fenced(proxy: Proxy) -> None:
    uris = [proxy.serving(new_token().generate("key")) for _ in range(3)]
    code = """
module = tokens.default_manager().tokens.module(Path(uris[3]))
module.cryptoki.use_deadlines(None, CallDeadlines(session=0.5))
rule("C_GetSlotInfo hang=1")
said(lambda: tokens.open_key(uris[0]))
wait_for(lambda: module.is_fenced)
said(lambda: tokens.open_key(uris[1]))
rule()
wait_for(lambda: not ending.has_late_calls())
sign(tokens.open_key(uris[0]))
"""
    assert play(proxy, code, *uris, proxy.module) == ["TokenTimeoutError", "ModuleFencedError"]


def test_a_session_that_is_opened_late_is_closed(token: TestToken, proxy: Proxy) -> None:
    code = """
key = tokens.open_key(uris[0], sessions=2)
hurry(key)
key.device._connection._idle.clear()
key.device._connection._busy = 0
rule("C_OpenSession hang=1 after=1")
said(lambda: sign(key))
rule()
wait_for(lambda: not ending.has_late_calls())
sign(key)
"""
    assert play(proxy, code, proxy.serving(token.generate("key"))) == ["TokenTimeoutError"]
    calls = proxy.calls()
    assert calls["C_OpenSession"] - calls["C_CloseSession"] == 3  # what the process still had when it ended


def test_waiting_callers_leave_when_the_process_ends(token: TestToken, proxy: Proxy) -> None:
    code = """
import threading
key = tokens.open_key(uris[0])
rule("C_Sign hang=1")
thread = threading.Thread(target=said, args=(lambda: sign(key),))
thread.start()
time.sleep(0.3)
ending.interrupt_device_calls()
thread.join(1)
print(thread.is_alive(), ending.has_late_calls())
ending.end_process(3)
"""
    environment = proxy.environment()
    scene = scenes.begin(SCENE + code, proxy.serving(token.generate("key")), environment=environment)
    printed, complaint = scene.communicate(timeout=scenes.TIMEOUT)
    assert scene.returncode == 3, complaint
    assert printed.split() == ["TokenLostError", "False", "True"]


def test_ctrl_c_is_heard_while_a_token_hangs(token: TestToken, proxy: Proxy) -> None:
    code = """
key = tokens.open_key(uris[0])
rule("C_Sign hang=1")
try:
    print("ready", flush=True)
    sign(key)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    ending.end_process(130)
"""
    environment = proxy.environment()
    scene: subprocess.Popen[str] = scenes.begin(
        SCENE + code, proxy.serving(token.generate("key")), environment=environment
    )
    assert scene.stdout is not None
    assert scene.stdout.readline() == "ready\n"
    scene.send_signal(signal.SIGINT)
    printed, complaint = scene.communicate(timeout=scenes.TIMEOUT)
    assert scene.returncode == 130, complaint
    assert printed == "interrupted\n"


def test_a_module_that_serves_one_call_at_a_time_turns_the_waiting_away(token: TestToken, proxy: Proxy) -> None:
    code = """
from tokens.pkcs11 import module as modules
modules.ONE_CALL_AT_A_TIME = (Path(uris[1]).name,)
key = tokens.open_key(uris[0])
hurry(key)
rule("C_Sign hang=1")
sign_in_threads(key, 4)
rule()
wait_for(lambda: not ending.has_late_calls())
sign(key)
"""
    *answers, alive = play(proxy, code, proxy.serving(token.generate("key")), proxy.module)
    assert answers == ["ModuleFencedError"] * 3 + ["TokenTimeoutError"]
    assert alive == "False"
