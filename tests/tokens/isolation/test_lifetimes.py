"""Keys of isolated modules in threads, in forked processes and on several tokens, and the end of the processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tokens
from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.isolation.conftest import SHORT, IsolatedKeys, children, fails_within, is_running, pid_of
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign, until
from tokens import DeviceManager
from tokens.deadlines import CallDeadlines
from tokens.errors import (
    NoSuchTokenError,
    TokenLostError,
    TokenTimeoutError,
)
from tokens.process import ending

pytestmark = pytest.mark.usefixtures("bounded")


def test_8_threads_sign_with_one_key(key: Any, proxy: Proxy) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(sign, key) for _ in range(80)]:
            done.result()
    assert proxy.calls()["C_Initialize"] == proxy.calls()["C_Login"] == 1


def test_8_threads_go_on_when_the_process_is_killed_in_between(key: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        signing = [pool.submit(sign, key) for _ in range(80)]
        until(lambda: signing[20].done())
        os.kill(pid_of(key), signal.SIGKILL)
        for done in signing:
            done.result()


def test_the_number_of_a_session_is_not_used_again(key: Any) -> None:
    sign(key)
    module, session = key.device._connection.module, key.device._connection._anchor
    os.kill(pid_of(key), signal.SIGKILL)
    sign(key)
    assert key.device._connection._anchor != session
    assert module.cryptoki.logout(session) == 0xB3
    sign(key)


def test_a_forked_child_has_a_process_of_its_own(key: Any) -> None:
    sign(key)
    before, session = pid_of(key), key.device._connection._anchor
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            sign(key)
            assert key.device._connection.module.cryptoki.logout(session) == 0xB3  # its parent's
            os.write(writer, str(pid_of(key)).encode())
            tokens.default_manager().close()
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        other = int(pipe.read())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert other != before
    assert not is_running(other)
    sign(key)
    assert pid_of(key) == before


def test_two_uris_of_one_token_share_its_process(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    first = isolated.open(token)
    by_label = f"pkcs11:token={token.label.replace(' ', '%20')};object=key?module-path={proxy.module}"
    before = set(children())
    with tokens.open_key(by_label, pin=token.pin, isolation="process") as second:
        sign(first)
        sign(second)
        assert pid_of(first) == pid_of(second)
        assert set(children()) == before
    assert proxy.calls()["C_Login"] == 1


def test_a_token_that_is_not_found_leaves_no_process(isolated: IsolatedKeys, proxy: Proxy) -> None:
    before = set(children())
    with pytest.raises(NoSuchTokenError):
        tokens.open_key(f"pkcs11:token=missing?module-path={proxy.module}", isolation="process")
    assert set(children()) == before


def test_two_tokens_of_one_module_hang_independently(isolated: IsolatedKeys, proxy: Proxy) -> None:
    pair = [new_token(), new_token()]
    for token in pair:
        token.generate("key")
    hung, working = (isolated.open(token) for token in pair)
    sign(hung)
    sign(working)
    before = pid_of(working)
    proxy.rule(f"C_Sign slot={hung.device._connection._token.slot_id} hang=1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fails_within, 3.0, hung)
        while not waiting.done():
            sign(working)
        assert isinstance(waiting.result(), TokenTimeoutError)
    assert pid_of(working) == before
    proxy.rule()
    sign(hung)


def test_a_token_is_found_beside_one_that_answers_nothing(isolated: IsolatedKeys, proxy: Proxy) -> None:
    pair = [new_token(), new_token()]
    for token in pair:
        token.generate("key")
    seen = isolated.open(pair[0])
    slot = seen.device._connection._token.slot_id
    seen.close()
    proxy.rule(f"* slot={slot} hang=1")
    working = isolated.open(pair[1])
    sign(working)
    with pytest.raises(TokenTimeoutError, match=r"could not be read: slot \d+ \(no answer\)"):
        isolated.open(pair[0])
    sign(working)


# -- the end --------------------------------------------------------------------------------------------------------


def test_the_process_ends_with_the_last_key_of_its_token(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy
) -> None:
    token.generate("key")
    first, second = isolated.open(token), isolated.open(token)
    pid = pid_of(first)
    first.close()
    sign(second)
    second.close()
    assert not is_running(pid)
    assert proxy.calls()["C_Finalize"] == 1


def test_a_manager_ends_the_processes_of_tokens_that_hang(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, manager: DeviceManager
) -> None:
    token.generate("key")
    key = isolated.open(token, deadlines=SHORT.extend(CallDeadlines(sign=60.0)))
    sign(key)
    pid, signed = pid_of(key), proxy.calls()["C_Sign"]
    proxy.rule("C_Sign hang=1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sign, key)
        until(lambda: proxy.calls()["C_Sign"] == signed + 1)
        began = time.monotonic()
        manager.close()
        assert time.monotonic() - began < 10.0
        with pytest.raises(TokenLostError):
            waiting.result()
    assert not is_running(pid)


def test_waiting_callers_leave_when_the_process_ends(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    key = isolated.open(token, deadlines=SHORT.extend(CallDeadlines(sign=60.0)))
    sign(key)
    signed = proxy.calls()["C_Sign"]
    proxy.rule("C_Sign hang=1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sign, key)
        until(lambda: proxy.calls()["C_Sign"] == signed + 1)
        ending.interrupt_device_calls(0.0)
        with pytest.raises(TokenLostError, match="this process is ending"):
            waiting.result()
    proxy.rule()


def test_an_interrupted_caller_leaves_nothing_behind(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    key = isolated.open(token, deadlines=SHORT.extend(CallDeadlines(sign=60.0)))
    sign(key)
    pid, signed = pid_of(key), proxy.calls()["C_Sign"]
    proxy.rule("C_Sign hang=1")

    def interrupt() -> None:
        until(lambda: proxy.calls()["C_Sign"] == signed + 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        sign(key)
    thread.join()
    assert not is_running(pid)
    proxy.rule()
    sign(key)


@pytest.mark.parametrize("hung", [False, True])
def test_the_process_ends_when_its_parent_is_killed(token: TestToken, proxy: Proxy, hung: bool) -> None:
    code = """
key = tokens.open_key(uris[0], isolation="process")
sign(key)
print(key.device._connection.module.pid, flush=True)
sys.stdin.readline()
sign(key)
"""
    uri = proxy.serving(token.generate("key"))
    scene = scenes.begin(code, uri, environment=proxy.environment(counted=True))
    assert scene.stdout is not None
    assert scene.stdin is not None
    pid = int(scene.stdout.readline())
    signed = proxy.calls()["C_Sign"]
    if hung:
        proxy.rule("C_Sign hang=1")
        scene.stdin.write("\n")
        scene.stdin.flush()
        until(lambda: proxy.calls()["C_Sign"] == signed + 1)
    assert is_running(pid)
    scene.kill()
    scene.communicate()
    until(lambda: not is_running(pid))


def test_a_program_that_closes_nothing_ends_its_processes(token: TestToken, proxy: Proxy) -> None:
    code = """
key = tokens.open_key(uris[0], isolation="process")
sign(key)
print(key.device._connection.module.pid, flush=True)
"""
    (line,) = scenes.play(code, proxy.serving(token.generate("key")), environment=proxy.environment(counted=True))
    assert not is_running(int(line))
    assert proxy.calls()["C_Finalize"] == 1
