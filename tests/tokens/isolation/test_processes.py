"""A module in a process of its own: it hangs, crashes and is killed, and the keys of its token work again."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tokens
from tests.softhsm import TestToken, new_token, set_pin
from tests.tokens import scenes
from tests.tokens.isolation.conftest import SHORT, IsolatedKeys, pid_of
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign, until
from tokens import DeviceManager
from tokens.deadlines import CallDeadlines
from tokens.errors import (
    CeremonyTimeoutError,
    ModuleError,
    NoSuchTokenError,
    PinNotPresentedError,
    PinRefusedError,
    TokenLostError,
    TokenTimeoutError,
)
from tokens.events import OperationOutcome, Reconnection, subscribe
from tokens.pins.refusals import RefusalMemory
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key, read_keys, review_unfinished
from tokens.process import ending

pytestmark = pytest.mark.usefixtures("bounded")


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


def test_the_module_is_not_loaded_in_this_process(key: Any, proxy: Proxy) -> None:
    sign(key)
    assert str(proxy.module) not in Path("/proc/self/maps").read_text()
    assert str(proxy.module) in Path(f"/proc/{pid_of(key)}/maps").read_text()


def test_its_process_has_no_descriptor_of_this_one(key: Any, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert Path(f"/proc/self/fd/{file.fileno()}").readlink() == tmp_path / "secret"
        os.kill(pid_of(key), signal.SIGKILL)
        sign(key)  # in a process that was started while the file is open
        folder = Path(f"/proc/{pid_of(key)}/fd")
        open_there = [entry.readlink() for entry in folder.iterdir()]
        assert (folder / "0").readlink() == (folder / "1").readlink() == Path("/dev/null")
    assert tmp_path / "secret" not in open_there


@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign", "C_Sign after=1"])
def test_a_call_that_hangs_ends_with_its_process(key: Any, proxy: Proxy, function: str) -> None:
    sign(key)
    before = pid_of(key)
    proxy.rule(f"{function} hang=1")
    error = fails_within(3.0, key)
    assert isinstance(error, TokenTimeoutError)
    assert f"did not answer {function.split()[0]} within 0.5 seconds" in str(error)
    assert not is_running(before)
    assert not ending.has_late_calls()
    proxy.rule()
    sign(key)
    assert proxy.calls()["C_Login"] == 2


def test_other_callers_of_the_process_leave_with_the_same_error(key: Any, proxy: Proxy) -> None:
    proxy.rule("C_Sign hang=1")
    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(lambda _: fails_within(3.0, key), range(4)))
    assert {type(error) for error in errors} == {TokenTimeoutError}
    proxy.rule()
    sign(key)


def test_a_device_that_stays_hung_is_not_logged_in_to_without_a_pause(
    key: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.rule("C_Sign hang=1")
    for _ in range(2):
        fails_within(4.0, key)
    logins = proxy.calls()["C_Login"]
    for _ in range(3):
        error = fails_within(0.5, key)
        assert isinstance(error, TokenTimeoutError)
        assert "is started again in" in str(error)
    assert proxy.calls()["C_Login"] == logins
    proxy.rule()
    until(lambda: not _fails(key))


def _fails(key: Any) -> bool:
    try:
        sign(key)
    except TokenLostError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_module_that_crashes_in_a_call_is_started_again(
    key: Any, proxy: Proxy, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = key.device._connection
    connection.module.use_deadlines(connection._token.slot_id, SHORT.extend(CallDeadlines(sign=20.0)))
    sign(key)
    signed = proxy.calls()["C_Sign"]
    proxy.rule("C_Sign takes=15")
    steps: list[Reconnection] = []
    with subscribe(lambda event: steps.append(event), Reconnection), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sign, key)
        until(lambda: proxy.calls()["C_Sign"] == signed + 1)
        proxy.rule()
        os.kill(pid_of(key), number)
        waiting.result()
    assert [step.outcome for step in steps] == [OperationOutcome.SUCCEEDED]


def test_a_process_that_was_killed_between_two_calls_is_not_missed(key: Any, proxy: Proxy) -> None:
    sign(key)
    before = pid_of(key)
    os.kill(before, signal.SIGKILL)
    until(lambda: not is_running(before))
    sign(key)
    assert proxy.calls()["C_Login"] == 2


def test_a_module_that_crashes_always_is_an_error_and_no_crash(key: Any, proxy: Proxy) -> None:
    sign(key)
    proxy.rule("nonsense")  # ends each process of the proxy
    assert "SIGABRT" in str(fails_within(20.0, key))
    proxy.rule()
    until(lambda: not _fails(key))


def test_a_process_that_is_stopped_is_killed(key: Any, monkeypatch: pytest.MonkeyPatch, proxy: Proxy) -> None:
    sign(key)
    before = pid_of(key)
    os.kill(before, signal.SIGSTOP)
    error = fails_within(12.0, key)
    assert isinstance(error, TokenTimeoutError)
    assert "no sign of life" in str(error)
    assert not is_running(before)
    sign(key)


def test_a_long_call_shows_that_its_process_works(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    key = isolated.open(token, deadlines=SHORT.extend(CallDeadlines(sign=30.0)))
    proxy.rule("C_Sign takes=6")  # longer than a process may be silent
    sign(key)


def test_signals_of_a_terminal_and_of_a_service_manager_do_not_end_it(key: Any) -> None:
    sign(key)
    before = pid_of(key)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(before, number)
    sign(key)
    assert pid_of(key) == before


def test_a_module_that_cannot_be_loaded(isolated: IsolatedKeys, tmp_path: Path) -> None:
    empty = tmp_path / "empty.so"
    empty.touch()
    for path, why in ((empty, "is not a PKCS#11 module"), (tmp_path / "missing.so", "There is no PKCS#11 module")):
        with pytest.raises(ModuleError, match=why):
            tokens.open_key(f"pkcs11:token=x?module-path={path}", isolation="process")
    with pytest.raises(ValueError, match="thread"):
        tokens.open_key(f"pkcs11:token=x?module-path={empty}", isolation="thread")


def test_a_module_that_hangs_when_it_is_started(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    proxy.rule("C_Initialize hang=1")
    with pytest.raises(TokenTimeoutError, match="C_Initialize within 1 seconds"):
        isolated.open(token, deadlines=SHORT)
    with pytest.raises(TokenTimeoutError, match="is started again in"):
        isolated.open(token)
    proxy.rule()
    until(lambda: not _fails_to_open(isolated, token))
    sign(isolated.opened[-1])


def _fails_to_open(isolated: IsolatedKeys, token: TestToken) -> bool:
    try:
        isolated.open(token)
    except TokenLostError:
        return True
    return False


def test_a_manager_does_not_wait_for_a_module_that_is_being_started(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, manager: DeviceManager
) -> None:
    token.generate("key")
    proxy.rule("C_Initialize hang=1")
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(isolated.open, token, deadlines=CallDeadlines(login=300.0))
        until(lambda: proxy.calls()["C_Initialize"] == 1)
        began = time.monotonic()
        manager.close()
        assert time.monotonic() - began < 10.0
        with pytest.raises(TokenLostError):
            opening.result()


@pytest.mark.parametrize(("rule", "is_made"), [("hang=1 after=1", True), ("hang=1", False)])
def test_a_key_pair_whose_generation_hung_is_looked_for(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, rule: str, is_made: bool
) -> None:
    deadlines = CallDeadlines(generate=3.0)
    uri = proxy.serving(token.uri())
    with tokens.open_token(uri, isolation="process", deadlines=deadlines) as connection:
        proxy.rule(f"C_GenerateKeyPair {rule}")
        with pytest.raises(CeremonyTimeoutError, match="did not answer C_GenerateKeyPair within 3 seconds"):
            generate_key(connection, "late", KeyKind.P_256, Usage.SIGN)
        proxy.rule()
        keys = read_keys(connection)
        assert [entry.name.label for entry in keys] == (["late"] if is_made else [])
        assert [(one.step.label, one.found) for one in review_unfinished(connection, keys)] == [("late", is_made)]


# -- PINs ----------------------------------------------------------------------------------------------------------


def test_a_wrong_pin_is_presented_once(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    uri = proxy.serving(TestToken(token.label, token.serial, set_pin("000000"), token.so_pin).uri("key"))
    for expected in (PinRefusedError, PinNotPresentedError):
        with pytest.raises(expected):
            tokens.open_key(uri, isolation="process")
    assert proxy.presented() == ["C_Login 000000"]


@pytest.mark.parametrize("rule", ["C_Login hang=1", "C_Login hang=1 after=1"])
def test_a_pin_whose_login_hung_is_not_presented_again(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, rule: str, tmp_path: Path
) -> None:
    token.generate("key")
    memory = RefusalMemory(tmp_path / "never accepted")
    proxy.rule(rule)
    with pytest.raises(TokenTimeoutError):
        isolated.open(token, memory=memory)
    proxy.rule()
    presented = proxy.presentations()
    with pytest.raises(PinNotPresentedError):
        isolated.open(token, memory=memory)
    assert proxy.presentations() == presented
    assert proxy.calls()["C_Login"] == 1


def test_a_pin_whose_login_crashed_is_not_presented_again(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, tmp_path: Path
) -> None:
    token.generate("key")
    memory = RefusalMemory(tmp_path / "never accepted")
    proxy.rule("C_Login takes=15 after=1")
    processes = set(children())
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(isolated.open, token, memory=memory, deadlines=SHORT.extend(CallDeadlines(login=30.0)))
        until(lambda: len(proxy.presentations()) == 1)
        proxy.rule()
        (process,) = set(children()) - processes
        os.kill(process, signal.SIGSEGV)
        with pytest.raises(PinNotPresentedError):
            opening.result()
    with pytest.raises(PinNotPresentedError):
        isolated.open(token, memory=memory)
    assert len(proxy.presentations()) == 1


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


# -- several threads, processes and tokens --------------------------------------------------------------------------


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
