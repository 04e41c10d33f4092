"""A process that forks at any time, with threads at work, and keys that end with it."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy

pytestmark = pytest.mark.usefixtures("bounded")


FORK_WHILE_THREADS_SIGN = """
import signal, time
from tokens.errors import LoginUnclearError, OperationFailedError, PinNotPresentedError
enough = threading.Event()
def keep_signing():
    while not enough.is_set():
        sign(key)
key = tokens.open_key(uris[0])
sign(key)
threads = [threading.Thread(target=keep_signing, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for _ in range(2):
    time.sleep(0.05)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for _ in range(3):
            try:
                sign(key)
                os._exit(0)
            except (OperationFailedError, LoginUnclearError) as error:
                # SoftHSM may answer a login so (CKR_GENERAL_ERROR) while another process rewrites the token's file;
                # a PIN that it accepted before is presented once more.
                print(error, file=sys.stderr)
            except PinNotPresentedError as error:
                # Or (CKR_USER_PIN_NOT_INITIALIZED), which does not count against the PIN.
                if "was never set" not in str(error):
                    raise
                print(error, file=sys.stderr)
        os._exit(1)
    assert time.monotonic() - started < 4, "the fork waited for a gate that never came free"
    assert os.waitpid(child, 0)[1] == 0
enough.set()
for thread in threads:
    thread.join(10)
print(sum(thread.is_alive() for thread in threads), "threads hang")
"""


def test_a_process_with_8_busy_threads_forks_and_its_children_sign(node: TestToken) -> None:
    assert scenes.play(FORK_WHILE_THREADS_SIGN, node.uri("rsa")) == ["0 threads hang"]


def test_so_it_is_with_a_key_that_wants_its_pin_each_time(token: TestToken, proxy: Proxy) -> None:
    proxy = under_the_name_of_softhsm(proxy)
    uri = proxy.serving(token.generate("careful", "p256", always_authenticate=True))
    environment = proxy.environment(sign_takes=0.02)
    assert scenes.play(FORK_WHILE_THREADS_SIGN, uri, environment=environment) == ["0 threads hang"]


def under_the_name_of_softhsm(proxy: Proxy) -> Proxy:
    """The same proxy, taken for SoftHSM itself, which bears to be finalised in a child."""
    copy = Path(shutil.copy(proxy.module, proxy.folder / "libsofthsm2.so"))
    return dataclasses.replace(proxy, module=copy)


FORK_ONCE = """
key = tokens.open_key(uris[0])
sign(key)
if os.fork() == 0:
    said(lambda: sign(key))
    try:
        sign(key)
        print("done", flush=True)
    except TokenError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
said(lambda: sign(key))
"""


def test_a_module_that_is_not_known_to_bear_it_is_not_finalised_in_a_child(node: TestToken, proxy: Proxy) -> None:
    printed = scenes.play(FORK_ONCE, proxy.serving(node.uri("rsa")), environment=proxy.environment(counted=True))
    assert [printed[0], printed[2]] == ["TokenLostError", "done"]
    assert "multiprocessing: spawn" in printed[1]
    assert "proxy.so" in printed[1]
    calls = proxy.calls()
    assert calls["C_Finalize"] == 1, "the parent's own, at its end"
    assert calls["C_Login"] == 1, "the parent stayed logged in"


def test_one_that_is_known_to_bear_it_is_finalised_and_logs_in_again(node: TestToken, proxy: Proxy) -> None:
    proxy = under_the_name_of_softhsm(proxy)
    environment = proxy.environment(counted=True)
    assert scenes.play(FORK_ONCE, proxy.serving(node.uri("rsa")), environment=environment) == ["done"] * 3
    assert proxy.calls()["C_Finalize"] == 2
    assert proxy.calls()["C_Login"] == 2


def test_a_known_name_with_another_maker_behind_it_is_not_finalised_in_a_child(node: TestToken, proxy: Proxy) -> None:
    proxy = under_the_name_of_softhsm(proxy)
    proxy.rule("C_GetInfo manufacturer=Other")
    environment = proxy.environment(counted=True)
    printed = scenes.play(FORK_ONCE, proxy.serving(node.uri("rsa")), environment=environment)
    assert [printed[0], printed[2]] == ["TokenLostError", "done"]
    assert proxy.calls()["C_Finalize"] == 1


def test_a_module_that_starts_in_a_child_is_not_finalised_there(node: TestToken, proxy: Proxy) -> None:
    # As p11-kit's and OpenSC's do. Here the child then shares the login of the parent, as it would not with those.
    proxy.rule("C_Initialize rv=0x0 after=1 skip=1", "C_Login rv=0x0 skip=1")
    environment = proxy.environment(counted=True)
    assert scenes.play(FORK_ONCE, proxy.serving(node.uri("rsa")), environment=environment) == ["done"] * 3
    assert proxy.calls()["C_Finalize"] == 1


def test_threads_that_fork_at_the_same_time_do_not_lock_each_other_out(node: TestToken) -> None:
    code = """
    key = tokens.open_key(uris[0])
    def keep_forking():
        for _ in range(25):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
    threads = [threading.Thread(target=keep_forking, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    sign(key)
    print(sum(thread.is_alive() for thread in threads), "threads hang")
    """
    assert scenes.play(code, node.uri("rsa")) == ["0 threads hang"]


def test_a_key_is_closed_by_an_exit_handler_that_was_there_before_it(node: TestToken) -> None:
    code = """
    import atexit
    keys = []
    @atexit.register
    def leave():
        said(lambda: sign(keys[0]))
        keys[0].close()
        print("closed", flush=True)
    keys.append(tokens.open_key(uris[0]))
    sign(keys[0])
    """
    assert scenes.play(code, node.uri("rsa")) == ["TokenLostError", "closed"]
