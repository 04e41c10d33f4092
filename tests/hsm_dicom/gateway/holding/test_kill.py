"""A gateway that is killed while it holds an object: what the target got is what it gets again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.gateway.holding import records, signer
from hsm_dicom.gateway.holding.holder import open_holding
from hsm_dicom.gateway.holding.pdus import SplicedPDUs
from hsm_dicom.gateway.holding.settings import HoldingSettings, SigningSettings
from hsm_dicom.gateway.relay.holding_flow import HoldingFlow
from hsm_dicom.identity import Identity
from hsm_dicom.network.storage.incoming import Incoming
from tests import pki
from tests.hsm_dicom.gateway.holding.conversation import (
    ACCEPTED,
    REQUEST,
    Image,
    read_message,
    running,
    store,
    store_rsp,
)
from tests.hsm_dicom.gateway.routes import Scripted, scripted_target
from tests.hsm_dicom.network.pdus import read_pdu
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.soak import RUNS
from tests.softhsm import TestToken, new_token
from tokens import open_key
from tokens.uri import Pkcs11Uri

pytestmark = pytest.mark.softhsm

STEPS: dict[str, tuple[Any, str, bool]] = {
    "the first octets are there": (Incoming, "write", False),
    "the file is whole": (Incoming, "finish", True),
    "the key is about to sign": (signer, "sign_insertion", False),
    "the signature is made": (signer, "sign_insertion", True),
    "the signature is recorded": (records.SignatureRecords, "add", True),
    "the object is about to be sent": (HoldingFlow, "begin_sending", False),
    "a part was sent": (SplicedPDUs, "next_pdu", True),
    "the target has answered": (HoldingFlow, "note_response", False),
    "the status is noted": (HoldingFlow, "note_response", True),
}
"""When the gateway is killed: a function, and whether before or after its call."""

REACHED = {"the target has answered", "the status is noted"}
"""The steps before which the target has the whole object."""

ROUNDS = 1 if RUNS == 1 else 12


@pytest.fixture(scope="module")
def key(softhsm: Path) -> Iterator[tuple[TestToken, Pkcs11Uri, Any]]:
    token = new_token()
    uri = token.generate("signing")
    authority = pki.Authority("Kill CA")
    with open_key(uri) as opened:
        yield token, uri, authority.issue("node", key=opened).certificate


@pytest.mark.parametrize("step", STEPS)
def test_what_is_sent_again_after_a_kill_is_the_same_object(
    step: str, key: tuple[TestToken, Pkcs11Uri, Any], hospital: Hospital, tmp_path: Path
) -> None:
    folder = tmp_path / "held"
    _, uri, certificate = key
    with scripted_target() as target:
        for number in range(ROUNDS):
            image = Image.make(tmp_path, f"1.2.3.{number + 1}", value=number)
            with child(target, folder, uri, certificate, *STEPS[step]) as port:
                before = send(port, target, image)
            assert (before.answer, bool(before.came)) == (None, step in REACHED)
            with child(target, folder, uri, certificate) as port:
                assert list(folder.glob(".*.part")) == []
                after = send(port, target, image)
            assert after.answer == 0
            assert after.came
            assert not before.came or after.came == before.came
    assert sqlite3.connect(folder / "signatures.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Seen:
    """What both sides saw of one attempt: the whole object that came, and the status of the answer."""

    came = b""
    answer: int | None = None


def send(port: int, target: Scripted, image: Image) -> Seen:
    """Send an object through the gateway, which may die at any time."""
    seen = Seen()
    with contextlib.suppress(EOFError, OSError, AssertionError), contextlib.ExitStack() as stack:
        caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        caller.sendall(REQUEST)
        far = stack.enter_context(target.accept())
        read_pdu(far)
        far.sendall(ACCEPTED)
        read_pdu(caller)
        caller.sendall(store(image.uid, image.data))
        seen.came = read_message(far).data_set
        far.sendall(store_rsp())
        seen.answer = read_message(caller).status
    return seen


@contextmanager
def child(
    target: Scripted,
    folder: Path,
    uri: Pkcs11Uri,
    certificate: Any,
    place: Any = None,
    name: str = "",
    after: bool = False,
) -> Iterator[int]:
    """A process with the route, which kills itself at a step; its port."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _serve(target, folder, uri, certificate, writing, lambda: _kill_at(place, name, after))
        finally:
            os._exit(1)
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            yield int(ready.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(
    target: Scripted, folder: Path, uri: Pkcs11Uri, certificate: Any, ready: int, prepare: Callable[[], None]
) -> None:
    settings = HoldingSettings(folder=folder, signing=SigningSettings(identity="node"), minimum_free_mib=0)
    identity = Identity("node", open_key(uri), certificate)
    with open_holding("to-pacs", settings, identity) as resources, running(target, resources) as gateway:
        prepare()
        os.write(ready, f"{gateway.port}\n".encode())
        signal.pause()


def _kill_at(place: Any, name: str, after: bool) -> None:
    if place is None:
        return
    function = getattr(place, name)

    def killing(*arguments: Any, **options: Any) -> Any:
        if not after:
            os.kill(os.getpid(), signal.SIGKILL)
        function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, killing)
