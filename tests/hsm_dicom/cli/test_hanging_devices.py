"""Ctrl-C, SIGTERM and SIGHUP end each command within about a second, though a token does not return from a call."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsm_dicom.signatures.listing import list_signatures
from tests.cards.fixtures import PutIn, pcscd, pin, put_in
from tests.hsm_dicom.ceremony import configuration_text
from tests.hsm_dicom.cli.conftest import PROGRAM, Node, _read_until, image
from tests.hsm_dicom.cli.test_termination import session_members
from tests.ports import free_port
from tests.softhsm import MODULE, new_token
from tests.tokens import proxy as proxies
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import until

__all__ = ["pcscd", "pin", "put_in"]

SECONDS = 2.0
"""Within which a command must end after the signal: a second, and another one, because other tests run meanwhile.
Without the signal it would wait for a minute."""

DEADLINES = "[tokens.ct-room.deadlines]\nsession = 60\nsign = 60\nlogin = 60\nperson = 60\ngenerate = 60\n"

STATUSES = {signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP, signal.SIGINT: 130}


@pytest.fixture(scope="module")
def proxy_module(softhsm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return proxies.build(tmp_path_factory.mktemp("proxy"))


@pytest.fixture
def proxy(proxy_module: Path, tmp_path: Path, state_folder: Path) -> Proxy:
    return Proxy(proxy_module, tmp_path)


@pytest.fixture
def node(signing_node: Node, proxy: Proxy) -> Node:
    """The signing node, with its token behind the proxy, and with deadlines that no test lives to see."""
    signing_node.config.write_text(
        configuration_text(signing_node.token, "ct-room").replace(str(MODULE), str(proxy.module))
        + DEADLINES
        + '[identities.node]\ntoken = "ct-room"\nobject = "node"\n\n[events]\nfile = "events.jsonl"\n'
        + '[trust]\nanchors = ["ca.pem"]\n'
        + f'[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\nport = {free_port()}\n'
        + f'[peers.node]\nae_titles = ["NODE"]\nhost = "127.0.0.1"\nport = {free_port()}\n'
    )
    return signing_node


def use_another_token(node: Node) -> None:
    """Let the node use an empty token, for a test that changes it."""
    token = new_token()
    text = node.config.read_text().replace(node.token.serial, token.serial)
    node.config.write_text(text.replace(f'"{node.token.pin}"', f'"{token.pin}"'))


@contextmanager
def begun(proxy: Proxy, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command as a process of its own."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=proxy.environment(counted=True) | environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end_by(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send the signal; the process must end in time, by the signal, without a traceback. Returns what it printed."""
    time.sleep(0.2)  # the call that was noted has not hung yet
    os.killpg(process.pid, number)
    began = time.monotonic()
    try:
        said, complained = process.communicate(timeout=20)
    finally:
        lasted = time.monotonic() - began
    assert not re.search("Traceback|Exception ignored", complained), complained
    assert lasted < SECONDS
    assert process.returncode == STATUSES[number], (said, complained)
    return said, complained


COMMANDS = [
    ("C_Initialize", signal.SIGINT, "token list"),
    ("C_GetSlotList", signal.SIGTERM, "token list"),
    ("C_GetTokenInfo", signal.SIGHUP, "token info ct-room"),
    ("C_OpenSession", signal.SIGINT, "token login ct-room"),
    ("C_Login", signal.SIGTERM, "token login ct-room"),
    ("C_SignInit", signal.SIGINT, "token check ct-room"),
    ("C_Sign after=1", signal.SIGTERM, "token check ct-room"),
    ("C_SetPIN", signal.SIGINT, "token change-pin ct-room --new-pin env:NEW_PIN"),
    ("C_FindObjects", signal.SIGTERM, "key list ct-room"),
    ("C_GenerateKeyPair", signal.SIGINT, "key generate ct-room --label late"),
    ("C_GenerateKeyPair after=1", signal.SIGTERM, "key generate ct-room --label later"),
    ("C_Sign", signal.SIGINT, "key csr ct-room/node --subject CN=a"),
    (
        "C_CreateObject",
        signal.SIGTERM,
        "secret generate ct-room --use encryption --index 1 -o {folder}/1 -o {folder}/2",
    ),
    ("C_Login", signal.SIGINT, "token login ct-room --pin pinpad"),
    ("C_Login", signal.SIGINT, "check-config"),
    ("C_CloseSession", signal.SIGTERM, "token login ct-room"),
    ("C_Finalize", signal.SIGINT, "token login ct-room"),
]


@pytest.mark.parametrize(("function", "number", "command"), COMMANDS)
def test_a_signal_ends_a_command_that_waits_for_a_token(
    node: Node, proxy: Proxy, function: str, number: signal.Signals, command: str
) -> None:
    if command.startswith(("key generate", "secret generate")):
        use_another_token(node)
    pinpad = ["C_GetTokenInfo set=0x100"] if "pinpad" in command else []
    proxy.rule(f"{function} hang=1", *pinpad)
    with begun(
        proxy, *command.format(folder=node.folder).split(), "--config", node.config, NEW_PIN="7654321"
    ) as process:
        until(lambda: proxy.calls()[function.split()[0]])
        end_by(process, number)


@pytest.mark.parametrize("ending", ["deadline", "signal"])
def test_a_key_pair_that_appears_late_is_listed_as_late(node: Node, proxy: Proxy, softhsm: Path, ending: str) -> None:
    use_another_token(node)
    before = len(list(softhsm.rglob("*.object")))
    if ending == "deadline":
        node.config.write_text(node.config.read_text().replace("generate = 60", "generate = 0.5"))
    proxy.rule("C_GenerateKeyPair hang=1 after=1")
    label = f"late-{ending}"
    with begun(
        proxy, "key", "generate", "ct-room", "--label", label, "--type", "p256", "--config", node.config
    ) as process:
        if ending == "deadline":
            _, complained = process.communicate(timeout=20)
            assert process.returncode == 1
            assert "did not answer C_GenerateKeyPair within 0.5 seconds" in complained
            assert "generate = SECONDS under [tokens.NAME.deadlines]" in complained
        else:
            until(lambda: len(list(softhsm.rglob("*.object"))) >= before + 2)
            _, complained = end_by(process, signal.SIGINT)
    assert f"key pair '{label}' (id " in complained
    assert "may still appear" in complained
    device = "ct-room" if ending == "deadline" else "'pkcs11:"
    assert f"hsm-dicom key list {device}" in complained
    proxy.rule()
    for options, word in ((["token", "info"], "unfinished"), (["key", "list"], "is there now")):
        with begun(proxy, *options, "ct-room", "--config", node.config) as process:
            said, _ = process.communicate(timeout=20)
        assert label in said
        assert word in " ".join(said.split())


@pytest.mark.parametrize(
    ("function", "number", "command"),
    [
        ("C_Login", signal.SIGINT, "token login ct-room"),
        ("C_GenerateKeyPair", signal.SIGTERM, "key generate ct-room --label late"),
    ],
)
def test_a_signal_ends_a_command_that_waits_for_a_module_in_a_process_of_its_own(
    node: Node, proxy: Proxy, function: str, number: signal.Signals, command: str
) -> None:
    node.config.write_text(
        node.config.read_text().replace("[tokens.ct-room.d", 'isolation = "process"\n[tokens.ct-room.d')
    )
    use_another_token(node)
    proxy.rule(f"{function} hang=1")
    with begun(proxy, *command.split(), "--config", node.config) as process:
        until(lambda: proxy.calls()[function])
        end_by(process, number)
    until(lambda: session_members(process.pid) == [])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """More files than one task of a batch has."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        shutil.copy(image(), folder / f"{number}.dcm")
    return folder


def count_signed(said: str, out: Path) -> int:
    """How many files were signed, which are those that are there; all are whole."""
    written = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    assert all(len(list_signatures(path)) == 1 for path in written)
    [counted] = re.findall(r"(no|\d+) files? signed in", said)
    assert int(counted.replace("no", "0")) == len(written)
    return len(written)


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGTERM, 1), (signal.SIGHUP, 2), (signal.SIGINT, 1)])
def test_a_signal_ends_a_batch_that_waits_for_a_token(
    node: Node, proxy: Proxy, tmp_path: Path, images: Path, number: signal.Signals, jobs: int
) -> None:
    proxy.rule("C_Sign skip=36 hang=1")
    arguments = ("sign", images, "--out-dir", tmp_path / "out", "--config", node.config, "--identity", "node")
    with begun(proxy, *arguments, "--jobs", jobs) as process:
        until(lambda: proxy.calls()["C_Sign"] > 36)
        said, complained = end_by(process, number)
    assert complained.strip() == "hsm-dicom: interrupted; run the command again with --resume to continue."
    assert count_signed(said, tmp_path / "out") < 37


def test_a_batch_keeps_what_a_token_signs_right_after_the_signal(
    node: Node, proxy: Proxy, tmp_path: Path, images: Path
) -> None:
    proxy.rule("C_Sign takes=0.3")
    arguments = ("sign", images, "--out-dir", tmp_path / "out", "--config", node.config, "--identity", "node")
    with begun(proxy, *arguments, "--jobs", 1) as process:
        until(lambda: list((tmp_path / "out").glob("*.dcm")))
        said, complained = end_by(process, signal.SIGTERM)
    assert complained.strip() == "hsm-dicom: interrupted; run the command again with --resume to continue."
    assert 0 < count_signed(said, tmp_path / "out") < 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_that_asks_for_a_pin(node: Node, proxy: Proxy, number: signal.Signals) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*PROGRAM, "token", "login", "ct-room", "--pin", "prompt", "--config", str(node.config)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=proxy.environment(),
        start_new_session=True,
    )
    try:
        _read_until(ours, "PIN")
        until(lambda: termios.tcgetattr(theirs) != before)  # what is typed is not shown
        os.kill(process.pid, number)
        assert process.wait(SECONDS) == STATUSES[number]
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.cards
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_that_waits_for_a_card(
    put_in: PutIn, pin: str, proxy: Proxy, number: signal.Signals
) -> None:
    card = put_in(card="piv")
    card.do("fault", fault="hang", skip=4)
    uri = "card:reader=Rig%20A%2000%2000;profile=piv;key=9c"
    with begun(proxy, "card", "check", uri, "--pin", pin) as process:
        until(lambda: sum(card.do("state")["calls"].values()) >= 4)
        end_by(process, number)
    card.do("release")
