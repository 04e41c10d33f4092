"""A module in a process of its own: it hangs, crashes and is killed, and the keys of its token work again."""

from __future__ import annotations

import errno
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tokens
from tests.pausing import pause
from tests.softhsm import MODULE, TestToken, set_pin
from tests.tokens.isolation.conftest import SHORT, IsolatedKeys, children, fails_within, is_running, pid_of
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign, until
from tokens import DeviceManager
from tokens.deadlines import CallDeadlines
from tokens.errors import (
    CeremonyTimeoutError,
    ModuleError,
    PinNotPresentedError,
    PinRefusedError,
    TokenBusyError,
    TokenLostError,
    TokenTimeoutError,
)
from tokens.events import OperationOutcome, Reconnection, subscribe
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key, read_keys, review_unfinished
from tokens.pkcs11.isolation.messages import encode_request
from tokens.pkcs11.isolation.module import IsolatedModule
from tokens.process import ending

pytestmark = pytest.mark.usefixtures("bounded")


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


def test_it_imports_nothing_from_the_working_directory(
    key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("struct.py", "ctypes.py", "tokens.py", "pkcs11.py"):
        (tmp_path / name).write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    os.kill(pid_of(key), signal.SIGKILL)
    sign(key)
    assert Path(f"/proc/{pid_of(key)}/cwd").readlink() == tmp_path


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
    pause(before)
    error = fails_within(12.0, key)
    assert isinstance(error, TokenTimeoutError)
    assert "sent nothing for" in str(error)
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
    with pytest.raises(TokenTimeoutError, match="C_Initialize within 1 second"):
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


def _refuse_sockets(*_: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_without_descriptors_no_process_starts_and_the_error_says_so(
    softhsm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokens.pkcs11.isolation.process.socket.socketpair", _refuse_sockets)
    with pytest.raises(ModuleError, match="could not be started: .*Too many open files"):
        IsolatedModule(MODULE).ready()


def test_a_request_that_could_not_be_sent_is_wiped(softhsm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, requests = IsolatedModule(MODULE), []

    def note(*arguments: Any) -> bytearray:
        requests.append(encode_request(*arguments))
        return requests[-1]

    module.ready()
    try:
        module._process._close_idle()
        monkeypatch.setattr("tokens.pkcs11.isolation.process.encode_request", note)
        monkeypatch.setattr("tokens.pkcs11.isolation.process.socket.socketpair", _refuse_sockets)
        with pytest.raises(TokenBusyError):
            module.cryptoki.login(1, UserType.USER, Pin(b"1234"))
    finally:
        module.close()
    assert [set(request) for request in requests] == [{0}]
