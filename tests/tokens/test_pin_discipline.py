"""A PIN reaches a token at most once, whatever goes wrong around it: counted in the module, where nobody is told."""

import io
import logging
import os
import signal
import time
import traceback
from pathlib import Path

import pytest

from tests.softhsm import MODULE, TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_key, open_token
from tokens.errors import PinNotPresentedError, PinRefusedError, PinSourceError, TokenBusyError
from tokens.events import DeviceEvent, Login, subscribe
from tokens.pins.device_name import DeviceName
from tokens.pins.refusal_record import State
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromEnvironment, FromFile, Pin, Prompt
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import change_pin

pytestmark = pytest.mark.usefixtures("bounded")

STALE = "999999"

LOG_IN = """
def log_in():
    with tokens.open_token(uris[0], pin="env:STALE") as connection:
        connection.connect()
"""

SIGN_WITH_A_STALE_PIN = """
from tokens.pins.sources import Pin
from tokens.pins.refusals import RefusalMemory
name, serial, folder = uris[1:]
with tokens.open_key(uris[0]) as key:
    sign(key)
    {meanwhile}
    os.environ[name] = "999999"
    for _ in range(3):
        said(lambda: sign(key))
"""


class Typed(Prompt):
    """Somebody at a terminal, who types the PIN that an environment variable holds."""

    def __init__(self, source: str) -> None:
        object.__setattr__(self, "variable", source.removeprefix("env:"))

    def read(self, purpose: str) -> Pin | None:
        return Pin(os.environ[self.variable].encode())


def log_in_by_hand(token: TestToken) -> None:
    """Which clears the token's own warning, so that nothing but the memory holds a PIN back afterwards."""
    with open_token(token.uri(pin=False), pin=Typed(token.pin)) as connection:
        connection.connect()


def presentations_of_the_stale_pin(proxy: Proxy) -> int:
    return sum(line.endswith(STALE) for line in proxy.presented())


def sign_with_a_stale_pin(token: TestToken, proxy: Proxy, state_folder: Path, meanwhile: str) -> list[str]:
    uri = proxy.serving(token.generate("careful", "p256", always_authenticate=True))
    code = SIGN_WITH_A_STALE_PIN.format(meanwhile=meanwhile)
    name = token.pin.removeprefix("env:")
    return scenes.play(code, uri, name, token.serial, state_folder, environment=proxy.environment())


def test_a_key_that_wants_its_pin_each_time_presents_a_stale_one_once(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    assert (
        sign_with_a_stale_pin(token, proxy, state_folder, "pass") == ["PinRefusedError"] + ["PinNotPresentedError"] * 2
    )
    assert presentations_of_the_stale_pin(proxy) == 1
    assert len(RefusalMemory().refusals(token.serial)) == 1


def test_such_a_key_does_not_present_what_was_refused_elsewhere(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    recorded = "RefusalMemory().record(serial, 'user', Pin(b'999999'))"
    assert sign_with_a_stale_pin(token, proxy, state_folder, recorded) == ["PinNotPresentedError"] * 3
    assert presentations_of_the_stale_pin(proxy) == 0


def test_such_a_key_does_not_present_what_could_not_be_remembered(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    removed = "__import__('shutil').rmtree(folder); open(folder, 'w').close()"
    assert sign_with_a_stale_pin(token, proxy, state_folder, removed) == ["PinSourceError"] * 3
    assert presentations_of_the_stale_pin(proxy) == 0


def test_changing_a_pin_presents_a_wrong_old_one_once_even_where_somebody_is_logged_in(
    token: TestToken, proxy: Proxy
) -> None:
    code = """
    from pathlib import Path
    from tokens.pins.sources import FromEnvironment, Pin, Prompt
    from tokens.pkcs11.officer import change_pin
    from tokens.pkcs11.module import load_module
    from tokens.pkcs11.search import find_token
    class Typed(Prompt):
        def read(self, purpose):
            return Pin(b"999999")
    with tokens.open_key(uris[0]) as key:
        sign(key)
        module = load_module(Path(uris[1]))
        token = find_token(module, key.device._connection.token.uri)
        for _ in range(3):
            said(lambda: change_pin(module, token, Typed(), FromEnvironment("NEW")))
        sign(key)
    """
    environment = {**proxy.environment(), "NEW": "123456"}
    said = scenes.play(code, proxy.serving(token.generate("one")), proxy.module, environment=environment)
    assert said == ["PinRefusedError", "PinNotPresentedError", "PinNotPresentedError"]
    assert presentations_of_the_stale_pin(proxy) == 1
    assert len(RefusalMemory().refusals(token.serial)) == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_pin_whose_answer_was_lost_in_a_crash_is_not_presented_unattended(
    token: TestToken, proxy: Proxy, ending: signal.Signals
) -> None:
    code = LOG_IN + "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\nsaid(log_in)"
    environment = {**proxy.environment(login_takes=20), "STALE": STALE}
    uri = proxy.serving(token.uri(pin=False))
    scene = scenes.begin(code, uri, environment=environment)
    scenes.until(proxy.presented)
    scene.send_signal(ending)
    assert scene.communicate(timeout=scenes.TIMEOUT)[0] == ""
    assert scene.returncode == (3 if ending is signal.SIGTERM else -ending)
    assert [refusal.state for refusal in RefusalMemory().refusals(token.serial)] == [State.UNANSWERED]
    log_in_by_hand(token)  # with another PIN, so that this one was wrong
    assert [refusal.state for refusal in RefusalMemory().refusals(token.serial)] == [State.REFUSED]
    again = scenes.play(LOG_IN + "said(log_in)", uri, environment={**proxy.environment(), "STALE": STALE})
    assert again == ["PinNotPresentedError"]
    assert presentations_of_the_stale_pin(proxy) == 1


def test_the_right_pin_whose_answer_was_lost_serves_again_once_cleared(token: TestToken, proxy: Proxy) -> None:
    right = {**proxy.environment(login_takes=20), "STALE": os.environ[token.pin.removeprefix("env:")]}
    scene = scenes.begin(LOG_IN + "said(log_in)", proxy.serving(token.uri(pin=False)), environment=right)
    scenes.until(proxy.presented)
    scene.kill()
    scene.communicate(timeout=scenes.TIMEOUT)
    with pytest.raises(PinNotPresentedError, match="or was lost.*hsm-dicom token clear-rejected-pin"):
        connect(token)
    assert RefusalMemory().clear(token.serial) == 1
    connect(token)


def test_a_full_disk_keeps_a_pin_from_being_presented_and_loses_no_refusal(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    RefusalMemory().record(token.serial, "user", Pin(b"111111"))
    (record,) = state_folder.glob("*.json")
    code = """
import resource
limit = int(uris[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for _ in range(3):
    said(log_in)
"""
    environment = {**proxy.environment(), "STALE": STALE}
    limit = record.stat().st_size + 10
    said = scenes.play(LOG_IN + code, proxy.serving(token.uri(pin=False)), limit, environment=environment)
    assert said == ["PinSourceError"] * 3
    assert proxy.presented() == []
    assert len(RefusalMemory().refusals(token.serial)) == 1


def test_of_four_processes_with_four_stale_pins_one_presents_its_own(token: TestToken, proxy: Proxy) -> None:
    code = LOG_IN + "print('ready', flush=True); sys.stdin.readline(); said(log_in)"
    uri = proxy.serving(token.uri(pin=False))
    running = [
        scenes.begin(code, uri, environment={**proxy.environment(login_takes=0.2), "STALE": f"90000{number}"})
        for number in range(4)
    ]
    for scene in running:
        assert scene.stdout is not None
        assert scene.stdout.readline() == "ready\n"
    for scene in running:
        assert scene.stdin is not None
        scene.stdin.write("\n")
        scene.stdin.flush()
    said = sorted(line for scene in running for line in scenes.end(scene))
    assert said == ["PinNotPresentedError"] * 3 + ["PinRefusedError"]
    assert len(proxy.presented()) == 1


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_no_pin_is_presented_where_others_could_rewrite_the_refusals(
    token: TestToken, state_folder: Path, mode: int
) -> None:
    state_folder.mkdir()
    state_folder.chmod(mode)
    with pytest.raises(PinSourceError, match="may be written by others.*chmod go-w"):
        connect(token)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_no_pin_is_presented_where_another_user_owns_the_refusals(token: TestToken, state_folder: Path) -> None:
    state_folder.mkdir(mode=0o700)
    os.chown(state_folder, 12345, -1)
    with pytest.raises(PinSourceError, match="belongs to another user"):
        connect(token)


def test_a_link_in_place_of_the_new_record_leads_nowhere(token: TestToken, state_folder: Path, tmp_path: Path) -> None:
    connect(token)
    (record,) = state_folder.glob("*.json")
    precious = tmp_path / "precious"
    precious.write_text("precious")
    record.with_suffix(".new").symlink_to(precious)
    connect(token)
    assert precious.read_text() == "precious"
    assert not record.is_symlink()


def test_a_link_in_place_of_the_lock_is_refused(token: TestToken, state_folder: Path, tmp_path: Path) -> None:
    connect(token)
    (lock,) = state_folder.glob("*.lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PinSourceError, match="no PIN is presented"):
        connect(token)
    assert not (tmp_path / "elsewhere").exists()


def test_a_child_forked_during_a_login_does_not_keep_its_lock(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokens.process.state_folder.LOCK_TIMEOUT", 2.0)
    memory = RefusalMemory()
    with memory.present("1", "user", Pin(b"1234")):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with memory.present("1", "user", Pin(b"1234")):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_child_forked_during_a_login_does_not_let_others_in(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokens.process.state_folder.LOCK_TIMEOUT", 0.2)
    memory = RefusalMemory()
    with memory.present("1", "user", Pin(b"1234")):
        child = os.fork()
        if child == 0:
            try:
                with memory.present("1", "user", Pin(b"5678")):
                    os._exit(1)
            except TokenBusyError:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(TokenBusyError), memory.present("1", "user", Pin(b"5678")):
            pass


def test_many_refusals_do_not_make_a_login_slow(state_folder: Path) -> None:
    memory = RefusalMemory()
    memory.record("1", "user", Pin(b"0"))
    name = DeviceName("1").own_file
    record = memory._load(name)
    (refusal,) = record.refusals
    for number in range(50):
        record = record.add(type(refusal)("user", refusal.when, number.to_bytes(32, "big")))
    memory.write(name, str(record))
    started = time.perf_counter()
    with memory.present("1", "user", Pin(b"1234")):
        pass
    assert time.perf_counter() - started < 2
    assert len(memory.refusals("1")) == 51


def test_a_pin_that_is_not_utf_8_works_and_shows_nowhere(
    token: TestToken, state_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    uri = token.generate("careful", "p256", always_authenticate=True)
    file = tmp_path / "pin"
    file.write_bytes(b"p\xe4ss271828\n")
    file.chmod(0o600)
    heard: list[DeviceEvent] = []
    shown = io.StringIO()
    with subscribe(heard.append):
        old = FromEnvironment(token.pin.removeprefix("env:"))
        with open_token(token.uri()) as connection:
            info = connection.token
        change_pin(load_module(MODULE), info, old, FromFile(file))
        with open_key(token.uri("careful", pin=False), pin=f"file:{file}") as key:
            sign(key)
            file.write_bytes(b"p\xe4ss271828 stale\n")
            try:
                sign(key)
            except PinRefusedError:
                traceback.print_exc(file=shown)
    assert uri.object == "careful"
    assert "PinRefusedError" in shown.getvalue()
    (record,) = state_folder.glob("*.json")
    everywhere = f"{shown.getvalue()} {heard!r} {caplog.text} {record.read_text()} {caplog.records!r}"
    assert "271828" not in everywhere


def sign(key: object) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))


def connect(token: TestToken) -> None:
    """Log in with the right PIN; a PIN that is held back must be said to be so."""
    heard: list[DeviceEvent] = []
    try:
        with subscribe(heard.append), open_token(token.uri()) as connection:
            connection.connect()
    except Exception:
        assert [event.presented for event in heard if isinstance(event, Login)] == [False]
        raise
