"""Listeners whose token does not return from a call: others go on serving, readiness says so, and they stop in time."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pydicom.data import get_testdata_file

from tests.hsm_dicom.cli.conftest import PROGRAM
from tests.hsm_dicom.network.listening import listening
from tests.hsm_dicom.node.notifications import Manager, manager
from tests.hsm_dicom.tls.fixtures import Hospital, names
from tests.ports import free_port
from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import until

__all__ = ["manager"]

DRAIN = 1.0


@pytest.fixture
def config(tmp_path: Path, node: TestToken, hospital: Hospital, proxy_here: Proxy) -> Path:
    """Two listeners: `token` with its key behind the proxy_here, `file` with a key in a file."""
    (tmp_path / "token.pem").write_bytes(hospital.rsa.certificate.public_bytes(Encoding.PEM))
    other = hospital.peer("other node", extensions=[names()])
    certificate, key = hospital.files(other)
    key.chmod(0o600)
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f"""
[tokens.node]
module = "{proxy_here.module}"
serial = "{node.serial}"
pin = "{node.pin}"
deadlines = {{ session = 1, sign = 1 }}

[identities.token]
token = "node"
object = "rsa"
certificate = "token.pem"

[identities.file]
key = "file:{key}"
certificate = "{certificate}"
allow = ["file-key"]

[trust]
anchors = ["{hospital.ca_file}"]

[peers.self]
ae_titles = ["NODE"]
host = "127.0.0.1"

[listeners.token]
ae_title = "NODE"
port = {free_port()}
identities = ["token"]
authentication = "one-way"
stop_seconds = {DRAIN}
unidentified_per_address = 16

[listeners.file]
ae_title = "NODE"
port = {free_port()}
identities = ["file"]
authentication = "one-way"
stop_seconds = {DRAIN}
""")
    file.chmod(0o600)
    return file


SCENE = """
import socket, ssl, time
from pathlib import Path
from hsm_dicom import events
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import open_listener
from hsm_dicom.node.service import Service
from hsm_dicom.transport.events import ReadinessChanged
from tokens.process.ending import end_process
config, ca, drain = Path(uris[0]), uris[1], float(uris[2])
context = ssl.create_default_context(cafile=ca)
RULES = Path(os.environ["PROXY_RULES"])
def rule(*lines):
    fresh = RULES.with_name("rules.new")
    fresh.write_text("".join(line + chr(10) for line in lines))
    fresh.rename(RULES)
def call(service):
    try:
        with (socket.create_connection(service.address, timeout=20) as connection,
              context.wrap_socket(connection, server_hostname="localhost")):
            return "served"
    except OSError:
        return "refused"
def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
def hang(service):
    rule("C_Sign hang=1")
    callers = [threading.Thread(target=call, args=(service,), daemon=True) for _ in range(8)]
    for caller in callers:
        caller.start()
    return callers
told = []
token, file = (Service(lambda name=name: open_listener(read_plan(config), name)) for name in ("token", "file"))
with events.subscribe(told.append, ReadinessChanged):
    file.__enter__(), token.__enter__()
    print(call(token), call(file), token.problem == file.problem == "")
    callers = hang(token)
    wait_for(lambda: told)
    print("C_Sign" in token.problem, file.problem == "", *(call(file) for _ in range(5)))
    for caller in callers:
        caller.join(10)
    began = time.monotonic()
    print(call(token), time.monotonic() - began < 3)
    rule()
    wait_for(lambda: not token.problem)
    print(call(token))
    wait_for(lambda: len(told) == 2)
    print(*((event.name, event.ready) for event in told))
    hang(token)
    wait_for(lambda: token.problem)
    began = time.monotonic()
    token.__exit__(None, None, None)
    print(time.monotonic() - began < drain + 2, call(file))
    file.__exit__(None, None, None)
end_process(0)
"""


def test_another_listener_goes_on_and_the_hanging_one_is_ready_again_when_its_token_answers(
    config: Path, hospital: Hospital
) -> None:
    assert scenes.play(SCENE, config, hospital.ca_file, DRAIN) == [
        "served served True",
        "True True served served served served served",
        "refused True",
        "served",
        "('token', False) ('token', True)",
        "True served",
    ]


def handshake(port: int, ca: Path) -> bool:
    context = ssl.create_default_context(cafile=str(ca))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
            context.wrap_socket(connection, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


def test_a_listener_that_hangs_tells_its_service_manager_and_stops_within_its_drain_time(
    config: Path, hospital: Hospital, proxy_here: Proxy, manager: Manager
) -> None:
    port = int(config.read_text().split("port = ")[1].split()[0])
    with listening(config, "token") as running:
        assert handshake(port, hospital.ca_file)
        until(lambda: "WATCHDOG=1" in manager.told)
        assert manager.told[:2] == ["READY=1", "STATUS=Listening."]
        proxy_here.rule("C_Sign hang=1")
        callers = [threading.Thread(target=handshake, args=(port, hospital.ca_file)) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: any("not ready: " in one for one in manager.told))
        assert running.says("not ready: ")
        pings = manager.told.count("WATCHDOG=1")
        until(lambda: manager.told.count("WATCHDOG=1") > pings + 2)  # a restart would not help the token
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert running.process.wait(20) == 0
        assert time.monotonic() - began < DRAIN + 2 + 0.5
        for caller in callers:
            caller.join(10)
    assert manager.told[manager.told.index("STOPPING=1") + 2] == f"EXTEND_TIMEOUT_USEC={int(DRAIN + 15) * 1_000_000}"
    assert "Traceback" not in "".join(running.printed)


@pytest.mark.parametrize(("function", "number"), [("C_Initialize", signal.SIGINT), ("C_Login", signal.SIGTERM)])
def test_a_listener_that_waits_for_its_token_before_it_serves_hears_a_signal(
    config: Path, proxy_here: Proxy, function: str, number: signal.Signals
) -> None:
    config.write_text(config.read_text().replace("sign = 1 }", "sign = 1, login = 60 }"))
    proxy_here.rule(f"{function} hang=1")
    with listening(config, "token", until="") as running:
        until(lambda: proxy_here.calls()[function])
        os.kill(running.process.pid, number)
        began = time.monotonic()
        assert running.process.wait(20) == (-number if number == signal.SIGTERM else 130)
        assert time.monotonic() - began < 3
    assert "Traceback" not in "".join(running.printed)


def test_a_reload_that_waits_for_its_token_hears_a_signal(config: Path, hospital: Hospital, proxy_here: Proxy) -> None:
    config.write_text(config.read_text().replace("session = 1", "session = 60"))
    with listening(config, "token") as running:
        proxy_here.rule("C_GetTokenInfo hang=1")
        before = proxy_here.calls()["C_GetTokenInfo"]
        running.process.send_signal(signal.SIGHUP)
        until(lambda: proxy_here.calls()["C_GetTokenInfo"] > before)
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert running.process.wait(20) == 0
        assert time.monotonic() - began < DRAIN + 2 + 0.5
        assert running.says("reloading failed")


@pytest.mark.parametrize(("command", "number"), [("echo", signal.SIGTERM), ("store", signal.SIGINT)])
def test_a_requestor_that_waits_for_its_token_during_the_handshake_hears_a_signal(
    config: Path, proxy_here: Proxy, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    text = config.read_text().replace('"one-way"', '"mutual"').replace("sign = 1", "sign = 60")
    port = text.split("port = ")[-1].split()[0]
    text = text.replace('[peers.self]\nae_titles = ["NODE"]\n', f'[peers.self]\nae_titles = ["NODE"]\nport = {port}\n')
    config.write_text(text.replace('host = "127.0.0.1"\n', 'host = "127.0.0.1"\nidentity = "token"\n'))
    image = str(get_testdata_file("CT_small.dcm"))
    with listening(config, "file"):
        proxy_here.rule("C_Sign hang=1")
        arguments = [command, "self", *([image] if command == "store" else []), "--config", str(config)]
        process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            until(lambda: proxy_here.calls()["C_Sign"])
            time.sleep(0.2)
            process.send_signal(number)
            began = time.monotonic()
            printed, _ = process.communicate(timeout=20)
            assert time.monotonic() - began < 3, printed
            assert process.returncode == (-number if number == signal.SIGTERM else 130), printed
            assert "Traceback" not in printed
            assert "Exception ignored" not in printed
        finally:
            process.kill()
            process.wait()
