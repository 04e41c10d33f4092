"""One key, many threads, and forked children: no error, and no login that is not their own."""

import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.soak import RUNS
from tests.softhsm import TestToken
from tokens import open_key
from tokens.errors import PinSourceError, TokenBusyError
from tokens.events import DeviceEvent, Login, subscribe
from tokens.keys import TokenRSAPrivateKey

PKCS1 = padding.PKCS1v15()


def sign_and_verify(key: TokenRSAPrivateKey, times: int) -> None:
    for number in range(times):
        data = f"{threading.get_ident()} {number}".encode()
        key.public_key().verify(key.sign(data, PKCS1, hashes.SHA256()), data, PKCS1, hashes.SHA256())


def in_threads(key: TokenRSAPrivateKey, threads: int, times: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(sign_and_verify, key, times) for _ in range(threads)]:
            done.result()


def in_a_child(work: Callable[[], None]) -> int:
    """Do the work in a forked child; returns its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("run", range(RUNS))
def test_8_threads_sign_with_one_key(node: TestToken, run: int) -> None:
    with open_key(node.uri("rsa")) as key:
        in_threads(key, threads=8, times=200)


def test_more_threads_than_sessions_take_turns(node: TestToken) -> None:
    # A connection keeps the bound that it was opened with, so this token must be nobody else's.
    from tests.softhsm import new_token

    alone = new_token()
    with open_key(alone.generate("one"), sessions=2) as key:
        in_threads(key, threads=6, times=20)
        assert len(key.device._connection._idle) <= 2


def test_a_child_logs_in_for_itself(node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        sign_and_verify(key, 1)

        def work() -> None:
            heard: list[DeviceEvent] = []
            with subscribe(heard.append):
                sign_and_verify(key, 3)
            assert [type(event) for event in heard].count(Login) == 1

        assert in_a_child(work) == 0
        sign_and_verify(key, 1)


def test_the_parents_login_does_not_serve_a_child_without_a_pin(token: TestToken) -> None:
    uri = token.generate("private")
    with open_key(uri) as key:
        sign_and_verify(key, 1)

        def work() -> None:
            key.device._connection.credentials = None
            with pytest.raises(PinSourceError):
                sign_and_verify(key, 1)

        assert in_a_child(work) == 0


@pytest.mark.parametrize("run", range(RUNS))
def test_8_threads_sign_in_each_of_two_children(node: TestToken, run: int) -> None:
    with open_key(node.uri("rsa")) as key:
        sign_and_verify(key, 1)
        children = [in_a_child(lambda: in_threads(key, threads=8, times=200)) for _ in range(2)]
        assert children == [0, 0]


@pytest.mark.parametrize("run", range(RUNS))
def test_forking_while_threads_sign_harms_neither_side(node: TestToken, run: int) -> None:
    with open_key(node.uri("rsa")) as key, ThreadPoolExecutor(4) as pool:
        signing = [pool.submit(sign_and_verify, key, 100) for _ in range(4)]
        children = [in_a_child(lambda: sign_and_verify(key, 10)) for _ in range(5)]
        assert children == [0] * 5
        for done in signing:
            done.result()


def test_a_child_of_a_child_works_too(node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        assert in_a_child(lambda: exit_with(in_a_child(lambda: sign_and_verify(key, 2)))) == 0


def exit_with(status: int) -> None:
    assert status == 0


def test_a_wait_for_a_session_ends(token: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokens.pkcs11.sessions.BUSY_TIMEOUT", 0.2)
    with open_key(token.generate("one"), sessions=1) as key:
        connection = key.device._connection
        inside, release = threading.Event(), threading.Event()

        def hold(worker: object) -> None:
            inside.set()
            release.wait(10)

        holder = threading.Thread(target=connection.run, args=(hold, "hold"))
        holder.start()
        inside.wait(10)
        with pytest.raises(TokenBusyError, match="became free"):
            sign_and_verify(key, 1)
        release.set()
        holder.join()
        sign_and_verify(key, 1)
