"""The blocking transport behaves like a socket: for one thread and for several, at its limits and at its end."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from hsm_dicom.events import Event, subscribe
from hsm_dicom.iscl import (
    Encryption,
    ErrorCode,
    ISCLContext,
    ISCLError,
    IsclFailed,
    ISCLHooks,
    IsclReady,
    ISCLSocket,
    Mac,
    State,
    Weakness,
    WireProfile,
)
from hsm_dicom.iscl.errors import ConnectionLostError, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.wire.profile import MessageUnit
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.lines import SECONDS, Ends, independent, line, meanwhile, settings, sockets


@pytest.fixture
def pair(ends: Ends) -> Iterator[tuple[ISCLSocket, ISCLSocket]]:
    """A line with the default settings."""
    with line(ends, settings()) as both:
        yield both


def everything(end: ISCLSocket) -> bytes:
    """What arrives before the disconnection."""
    data = b""
    while more := end.recv(100_000):
        data += more
    return data


def test_what_is_written_arrives_however_it_is_read(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    with meanwhile(lambda: client.sendall(b"0123456789")):
        assert server.recv(4) == b"0123"
    assert server.pending() == 6
    buffer = bytearray(8)
    assert server.recv_into(buffer, 4) == 4
    assert server.recv_into(memoryview(buffer)[4:]) == 2
    assert buffer == b"456789\0\0"
    assert server.pending() == 0


def test_two_pdus_in_one_message_are_both_seen(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    """R18: a receiver does not depend on how a sender divides its data."""
    server, client = pair
    first, second = (bytes([4, 0]) + len(body).to_bytes(4, "big") + body for body in (b"one", b"another"))
    with meanwhile(lambda: client.sendall(first + second)):
        assert server.recv(len(first)) == first
    assert server.pending() == len(second)
    assert server.recv(1000) == second


def test_a_write_beyond_the_limit_is_several_messages(ends: Ends) -> None:
    seen: list[int] = []

    def packet(_: object, octets: bytes) -> None:
        if octets[4:8] == peer_side.words(peer_side.SEND_RQ):
            seen.append(int.from_bytes(octets[44:48], "big"))

    data = os.urandom(2500)
    hooks = ISCLHooks(packet=packet)
    with (
        line(ends, settings(max_message=1000), client_hooks=hooks) as (server, client),
        meanwhile(lambda: everything(server)) as received,
    ):
        assert client.send(data) == 2500
        client.close()
        assert received.result(SECONDS) == data
    assert seen == [1000, 1000, 500]


def test_a_sender_may_put_one_pdu_in_each_message(ends: Ends) -> None:
    seen: list[int] = []

    def packet(_: object, octets: bytes) -> None:
        if octets[4:8] == peer_side.words(peer_side.SEND_RQ):
            seen.append(int.from_bytes(octets[44:48], "big"))

    pdus = b"".join(bytes([4, 0]) + size.to_bytes(4, "big") + bytes(size) for size in (0, 10, 3000, 40))
    with (
        line(
            ends,
            settings(max_message=1000, profile=WireProfile(message_unit=MessageUnit.PDU)),
            client_hooks=ISCLHooks(packet=packet),
        ) as (server, client),
        meanwhile(lambda: everything(server)) as received,
    ):
        for start in range(0, len(pdus), 7):
            client.sendall(pdus[start : start + 7])
        client.close()
        assert received.result(SECONDS) == pdus
    assert seen == [6, 16, 1000, 1000, 1000, 6, 46]


def test_both_ends_may_send_at_once_while_others_receive(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    """Requests cross all the time; no octet is lost, and nobody waits for ever."""
    sent = {end: [os.urandom(3000) for _ in range(40)] for end in pair}
    got = dict.fromkeys(pair, b"")

    def send(end: ISCLSocket) -> None:
        for message in sent[end]:
            end.sendall(message)

    def receive(end: ISCLSocket) -> None:
        while len(got[end]) < 120_000:
            got[end] += end.recv(1000)

    threads = [threading.Thread(target=work, args=(end,)) for end in pair for work in (send, receive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    server, client = pair
    assert got[server] == b"".join(sent[client])
    assert got[client] == b"".join(sent[server])


def test_several_threads_may_send_and_each_message_stays_whole(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    messages = [bytes([number]) * 5000 for number in range(8)]
    threads = [threading.Thread(target=client.sendall, args=(message,)) for message in messages]
    with meanwhile(lambda: everything(server)) as received:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        client.close()
        data = received.result(SECONDS)
    assert sorted(data[start : start + 5000] for start in range(0, 40_000, 5000)) == messages


def test_what_is_not_read_holds_the_sender_back(ends: Ends) -> None:
    """Memory is bounded by one message that waits to be read: the next one is not accepted before."""
    with line(ends, settings(max_message=1000)) as (server, client):
        client.settimeout(0.3)
        with meanwhile(lambda: server.recv(1)), pytest.raises(TimeoutError):
            client.sendall(bytes(5000))
        assert server.pending() < 1000
        assert server.peer_requested_length == 1000
        client.settimeout(SECONDS)
        with meanwhile(lambda: everything(server)) as received:
            client.close()
            assert len(received.result(SECONDS)) == 4999


def test_receiving_does_not_wait_without_a_timeout_to_wait_for(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    server.setblocking(False)
    assert server.gettimeout() == 0
    with pytest.raises(BlockingIOError):
        server.recv(1)
    server.settimeout(0.05)
    with pytest.raises(TimeoutError):
        server.recv(1)
    server.setblocking(True)
    assert server.gettimeout() is None
    with meanwhile(lambda: server.recv(10)) as received:
        client.sendall(b"at last")
        assert received.result(SECONDS) == b"at last"


def test_a_handshake_can_be_driven_without_waiting(ends: Ends) -> None:
    """As a listener does that serves many peers from one thread."""
    with sockets() as (a, b):
        a.setblocking(False)
        accepted = ISCLContext(settings(), ends.ours).wrap_socket(a, True, do_handshake_on_connect=False)
        with pytest.raises(BlockingIOError):
            accepted.do_handshake()
        with meanwhile(lambda: ISCLContext(settings(), ends.theirs).wrap_socket(b)) as asking:
            while accepted.status is not State.READY:
                select.select([accepted], [], [], SECONDS)
                with contextlib.suppress(BlockingIOError):
                    accepted.do_handshake()
            client = asking.result(SECONDS)
        assert accepted.is_secure_connected
        client.abort()
        accepted.abort()


def test_a_socket_may_be_wrapped_before_it_is_connected(ends: Ends) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as plain:
        client = ISCLContext(settings(), ends.theirs).wrap_socket(plain, server_hostname="pacs")
        assert client.status is State.CONNECTED

        def accept() -> ISCLSocket:
            return ISCLContext(settings(), ends.ours).wrap_socket(listener.accept()[0], server_side=True)

        with meanwhile(accept) as accepted:
            client.connect(listener.getsockname())
            server = accepted.result(SECONDS)
        assert client.getpeername() == listener.getsockname()
        assert server.getpeername() == client.getsockname()
        assert server.fileno() > 0
        with meanwhile(lambda: server.recv(1)) as last:
            client.close()
            assert last.result(SECONDS) == b""
        server.close()


# -- the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", [0, 1], ids=["server", "client"])
def test_either_end_may_disconnect_and_the_other_sees_the_end_of_the_data(
    pair: tuple[ISCLSocket, ISCLSocket], closer: int
) -> None:
    with meanwhile(lambda: everything(pair[1 - closer])) as received:
        pair[closer].sendall(b"all of it")
        pair[closer].close()
        assert received.result(SECONDS) == b"all of it"
    assert {end.status for end in pair} == {State.CLOSED}
    with pytest.raises(LocalProtocolError):
        pair[1 - closer].sendall(b"too late")
    with pytest.raises(LocalProtocolError):
        pair[closer].sendall(b"too late")


def test_both_ends_may_disconnect_at_once(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    with meanwhile(server.close) as closed:
        client.close()
        closed.result(SECONDS)
    assert {server.status, client.status} == {State.CLOSED}


def test_unwrapping_gives_the_bare_socket_back(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    with meanwhile(lambda: server.recv(1)) as last:
        bare = client.unwrap()
        assert last.result(SECONDS) == b""
    server.unwrap().sendall(b"plain again")
    assert bare.recv(100) == b"plain again"


def test_shutting_down_for_writing_is_the_disconnection(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    client.shutdown(socket.SHUT_RD)
    assert client.status is State.READY
    with meanwhile(lambda: server.recv(1)) as last:
        client.shutdown(socket.SHUT_RDWR)
        assert last.result(SECONDS) == b""
    client.shutdown(socket.SHUT_RDWR)


def test_a_peer_that_refuses_to_disconnect_is_reported_and_can_be_left_by_force(ends: Ends) -> None:
    with sockets() as (a, b):
        peer = independent(b, True)

        def refuse() -> bytes:
            peer.handshake()
            peer.get(peer_side.BYE_RQ)
            peer.put(peer_side.BYE_RP, option=peer_side.NAK)
            return peer.receive()

        with meanwhile(refuse) as done:
            client = ISCLContext(settings(), ends.ours).wrap_socket(a)
            with pytest.raises(RemoteProtocolError, match="by force") as caught:
                client.unwrap()
            assert caught.value.code is ErrorCode.PEER_REFUSED_CLOSE
            assert str(client.last_error) == str(caught.value)
            assert client.status is State.READY
            client.sendall(b"still here")
            assert done.result(SECONDS) == b"still here"
            client.abort()
        assert b.recv(1) == b""


def test_a_forced_close_wakes_those_who_wait(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    with meanwhile(lambda: server.recv(1)) as waiting:
        time.sleep(0.05)
        server.abort()
        assert isinstance(waiting.exception(SECONDS), ISCLError)
    with pytest.raises(ConnectionLostError):
        client.recv(1)


def test_a_connection_that_is_cut_is_an_error_and_not_an_end(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    """An attacker who can cut the line must not be able to make a shorter message look complete."""
    server, client = pair
    client.abort()
    with pytest.raises(ConnectionLostError, match="something may be missing"):
        server.recv(1)
    assert server.last_error is not None


def test_each_call_on_a_lost_connection_raises_an_error_of_its_own(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    """Threads that share one exception overwrite each other's tracebacks."""
    server, client = pair
    client.abort()
    raised = []
    for use in (lambda: server.recv(1), lambda: server.recv(1), lambda: server.sendall(b"x"), server.unwrap):
        with pytest.raises(ConnectionLostError, match="something may be missing") as caught:
            use()
        assert caught.value.code is ErrorCode.CONNECTION_LOST
        assert "something may be missing" in caught.value.strerror
        raised.append(caught.value)
    assert len(set(map(id, raised))) == len(raised)


def test_what_was_verified_before_the_connection_failed_is_still_handed_up(pair: tuple[ISCLSocket, ISCLSocket]) -> None:
    server, client = pair
    with meanwhile(lambda: client.sendall(b"verified")):
        assert server.recv(1) == b"v"
    client.abort()
    assert server.recv(100) == b"erified"
    with pytest.raises(ConnectionLostError):
        server.recv(1)


# -- what can be read and heard -------------------------------------------------------------------------------


def test_what_the_peer_is_and_asked_for_can_be_read(ends: Ends) -> None:
    with line(
        ends,
        settings(authentication_data=b"PACS", max_block_data=4000),
        settings(authentication_data=b"CT1", peer_authentication_data=b"PACS"),
    ) as (server, client):
        assert (server.peer_authentication_data, client.peer_authentication_data) == (b"CT1", b"PACS")
        assert server.block_data == client.block_data == 4000
        assert server.peer_encryption is server.peer_mac is server.peer_requested_length is None
        with meanwhile(lambda: server.recv(10)):
            client.sendall(b"ten octets")
        assert server.peer_encryption is Encryption.DES_CBC
        assert server.peer_mac is Mac.MD5
        assert server.peer_requested_length == 10
        assert server.is_send_queue_empty
        assert server.last_error is None
        assert "ready" in repr(server)


def test_hooks_hear_of_the_link_of_through_data_and_of_every_packet(ends: Ends) -> None:
    ready: list[ISCLError | None] = []
    got: list[bytes] = []
    told: list[int] = []
    packets: list[str] = []
    server_hooks = ISCLHooks(link_ready=ready.append, through_received=got.append)
    client_hooks = ISCLHooks(through_sent=told.append, packet=lambda role, _: packets.append(role))
    allowed = settings(allow={Weakness.THROUGH_MODE})
    with (
        line(ends, allowed, server_hooks=server_hooks, client_hooks=client_hooks) as (server, client),
        meanwhile(lambda: server.recv(100)) as received,
    ):
        client.send_through(b"in the clear")
        client.sendall(b"protected")
        assert received.result(SECONDS) == b"protected"
    assert (ready, got, told) == ([None], [b"in the clear"], [12])
    assert packets[:3] == ["server", "client", "server"]


def test_events_say_each_time_that_the_protection_is_out_of_date_and_why_a_connection_failed(ends: Ends) -> None:
    heard: list[Event] = []
    with subscribe(heard.append), line(ends, settings(authentication_data=b"CT\xff")) as (server, client):
        client.abort()
        with pytest.raises(ConnectionLostError):
            server.recv(1)
    ready = [event for event in heard if isinstance(event, IsclReady)]
    assert {event.role for event in ready} == {"server", "client"}
    assert all("MD5 are broken" in event.remark for event in ready)
    assert ready[0].peer_authentication_data == "CT\\xff"
    (failed,) = [event for event in heard if isinstance(event, IsclFailed)]
    assert (failed.code, failed.state) == (205, "ready")
