"""Threads have owners: when a listener is stopped and associations have ended, none of ours is left."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.iscl import ISCLContext, aio
from hsm_dicom.network.assembly import make_listener_transport
from hsm_dicom.network.errors import AssociationRejectedError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import ISCLExemption, ListenerSettings, Peer
from hsm_dicom.tls import AuthenticationMode
from hsm_dicom.tls.settings import LegacyExemption
from hsm_dicom.transport import legacy_tls
from hsm_dicom.transport.iscl import ISCLTransport
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.transport.pump import PumpedSocket
from tests import pki
from tests.hsm_dicom.iscl.lines import Ends, settings
from tests.hsm_dicom.network.nodes import CT1, TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.softhsm import TestToken
from tokens import open_secrets

OURS = ("association", "handshake-", "iscl", "listener-", "pump-", "upper-layer")
CONTEXTS = [build_context(Verification)]
TRANSPORTS = ["TLS", "retired TLS", "ISCL", "ISCL in TLS", "ISCL in retired TLS"]


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(OURS)}


@contextmanager
def none_left() -> Iterator[None]:
    before = our_threads()
    yield
    assert our_threads() - before == set()


@contextmanager
def two_parties(token: TestToken) -> Iterator[Ends]:
    with open_secrets(token.uri()) as ours, open_secrets(token.uri()) as theirs:
        yield Ends(ours, theirs)


def retired(hospital: Hospital, *, server: bool) -> SecureTransport:
    opening = LegacyExemption(profile="dhe-aes", reason="an old CT", until=date.today() + timedelta(days=2))
    if server:
        return legacy_tls.make_server_transport(
            opening, hospital.rsa, hospital.validator(), authentication=AuthenticationMode.MUTUAL, read_seconds=2
        )
    identity = hospital.peer("CT 1", key=pki.new_key("rsa2048", 11))
    return legacy_tls.make_client_transport(
        opening,
        identity,
        hospital.validator(),
        authentication=AuthenticationMode.MUTUAL,
        server_name=None,
        must_hold_name=False,
    )


def sides(kind: str, hospital: Hospital, ends: Ends, peer: Peer) -> tuple[SecureTransport | None, SecureTransport]:
    """The transports of the listener, where it is not the default, and of the peer."""
    outer: tuple[Any, Any] = (None, None)
    if kind == "TLS":
        return None, transport_to(peer, hospital)
    if kind.endswith("retired TLS"):
        outer = retired(hospital, server=True), retired(hospital, server=False)
    elif kind.endswith("TLS"):
        listening = ListenerSettings(name="main", ae_title="NODE", peers=(CT1,), port=0)
        outer = make_listener_transport(listening, [hospital.rsa], hospital.validator()), transport_to(peer, hospital)
    if not kind.startswith("ISCL"):
        return outer
    accepting_side = ISCLContext(settings(authentication_data=b"NODE"), ends.ours)
    asking_side = ISCLContext(settings(authentication_data=b"CT 1"), ends.theirs)
    return ISCLTransport(accepting_side, outer[0], read_seconds=2), ISCLTransport(asking_side, outer[1])


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_no_thread_of_ours_is_left(kind: str, hospital: Hospital, iscl_token: TestToken) -> None:
    opening = ISCLExemption(settings=settings()) if kind.startswith("ISCL") else None
    caller = Peer(name="CT 1", ae_titles=("CT1",), host="127.0.0.1", iscl=opening)
    with two_parties(iscl_token) as ends, none_left():
        listens, asks = sides(kind, hospital, ends, CT1)
        with node(hospital, peers=[caller], transport=listens) as running:
            peer = running.peer(name="NODE" if opening else "node", iscl=opening)
            with associate(peer, asks, "CT1", CONTEXTS, TIMEOUTS) as opened:
                assert opened.association.send_c_echo().Status == 0
            with pytest.raises(AssociationRejectedError), associate(peer, asks, "NOBODY", CONTEXTS, TIMEOUTS):
                pass
            # One that is secured, requests nothing, and is still there when the listener stops.
            raw = socket.create_connection(("127.0.0.1", running.port), timeout=5)
            silent = asks.connect(raw, "the node", 5).socket
        silent.close()
        if isinstance(silent, PumpedSocket):
            silent.join()


def test_a_connection_that_does_not_end_is_ended_by_its_owner() -> None:
    """A peer may never answer a disconnection: the threads still end, soon after the time is over."""

    class Stuck:
        def __init__(self) -> None:
            self.aborted = threading.Event()

        def recv(self, most: int) -> bytes:
            self.aborted.wait()
            return b""

        def sendall(self, data: bytes) -> None:
            raise AssertionError("nothing is sent")

        def settimeout(self, seconds: float | None) -> None:
            pass

        def close(self) -> None:
            self.aborted.wait()

        def abort(self) -> None:
            self.aborted.set()

        def getsockname(self) -> None:
            pass

        def getpeername(self) -> None:
            pass

    with none_left():
        pumped = PumpedSocket.over(Stuck(), 5)
        assert len(our_threads()) >= 2
        pumped.close()
        pumped.join(0.05)


def test_a_stream_of_asyncio_leaves_no_thread(iscl_token: TestToken) -> None:
    async def serve(stream: aio.ISCLStream) -> None:
        await stream.write(await stream.read(100))

    async def work(ends: Ends) -> None:
        serving, asking = ISCLContext(settings(), ends.ours), ISCLContext(settings(), ends.theirs)
        before = asyncio.all_tasks()
        server = await aio.start_server(serving, serve, port=0)
        async with await aio.open_connection(asking, "127.0.0.1", server.sockets[0].getsockname()[1]) as stream:
            await stream.write(b"DICOM")
            assert await stream.read(100) == b"DICOM"
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - before))
        assert our_threads() - threads == set()

    threads = our_threads()
    with two_parties(iscl_token) as ends:
        asyncio.run(asyncio.wait_for(work(ends), 20))
