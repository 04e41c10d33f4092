"""The asyncio form: the same line, from tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hsm_dicom.iscl import AuthenticationError, ErrorCode, ISCLContext, ISCLError, State, Weakness, WireProfile, aio
from hsm_dicom.iscl.errors import (
    ConnectionLostError,
    IntegrityError,
    LocalProtocolError,
    RemoteProtocolError,
    StepTimeoutError,
)
from hsm_dicom.iscl.hooks import ISCLHooks
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.lines import Ends, independent, settings

Serve = Callable[[aio.ISCLStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(context: ISCLContext, serve: Serve) -> AsyncIterator[int]:
    """A listener on loopback; gives its port. Whoever is still served at the end is served to the end."""
    before = asyncio.all_tasks()
    server = await aio.start_server(context, serve, port=0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - before))


async def echo(stream: aio.ISCLStream) -> None:
    while data := await stream.read(10_000):
        await stream.write(data)


def run(work: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_streams_carry_data_both_ways(ends: Ends) -> None:
    async def work() -> None:
        options = settings(unique_keys=True, authentication_data=b"PACS")
        async with served(ISCLContext(options, ends.ours), echo) as port:
            async with await aio.open_connection(ISCLContext(options, ends.theirs), "127.0.0.1", port) as stream:
                assert stream.peer_authentication_data == b"PACS"
                for length in (1, 8160, 100_000):
                    data = os.urandom(length)
                    writing = asyncio.create_task(stream.write(data))
                    assert await stream.readexactly(length) == data
                    await writing
                assert stream.status is State.READY
            assert stream.status is State.CLOSED
            assert stream.last_error is None

    run(work())


def test_many_streams_share_one_event_loop(ends: Ends) -> None:
    async def talk(port: int, context: ISCLContext) -> None:
        async with await aio.open_connection(context, "127.0.0.1", port) as stream:
            for number in range(5):
                message = os.urandom(500 + number)
                await stream.write(message)
                assert await stream.readexactly(len(message)) == message

    async def work() -> None:
        asking = ISCLContext(settings(), ends.theirs)
        async with served(ISCLContext(settings(), ends.ours), echo) as port, asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(talk(port, asking))

    run(work())


def test_the_end_of_the_data_is_seen_and_a_missing_rest_is_reported(ends: Ends) -> None:
    async def say_little(stream: aio.ISCLStream) -> None:
        await stream.write(b"only this")

    async def work() -> None:
        asking = ISCLContext(settings(), ends.theirs)
        async with served(ISCLContext(settings(), ends.ours), say_little) as port:
            stream = await aio.open_connection(asking, "127.0.0.1", port)
            with pytest.raises(asyncio.IncompleteReadError):
                await stream.readexactly(100)
            assert await stream.read(1) == b""
            with pytest.raises(LocalProtocolError):
                await stream.write(b"too late")
            await stream.close()

    run(work())


def test_through_data_needs_its_name(ends: Ends) -> None:
    got: list[bytes] = []

    async def work() -> None:
        allowed = settings(allow={Weakness.THROUGH_MODE})
        serving = ISCLContext(allowed, ends.ours, hooks=ISCLHooks(through_received=got.append))
        async with served(serving, echo) as port:
            async with await aio.open_connection(ISCLContext(allowed, ends.theirs), "127.0.0.1", port) as stream:
                await stream.write_through(b"in the clear")
                await stream.write(b"x")
                assert await stream.read(1) == b"x"
            async with await aio.open_connection(ISCLContext(settings(), ends.theirs), "127.0.0.1", port) as stream:
                with pytest.raises(LocalProtocolError) as caught:
                    await stream.write_through(b"in the clear")
                assert caught.value.code is ErrorCode.THROUGH_MODE_CLOSED

    run(work())
    assert got == [b"in the clear"]


async def meet(ends: Ends, talk: Callable[[peer_side.IndependentPeer], object], **peer: object) -> aio.ISCLStream:
    """Connect to a server that is the independent peer, on a thread."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    asyncio.get_running_loop().run_in_executor(None, be_the_peer, independent(theirs, True, **peer), talk)
    reader, writer = await asyncio.open_connection(sock=ours)
    profile = WireProfile(message_timeout=0.3)
    return await aio.wrap(ISCLContext(settings(profile=profile), ends.ours), reader, writer, server_hostname="the peer")


def be_the_peer(peer: peer_side.IndependentPeer, talk: Callable[[peer_side.IndependentPeer], object]) -> None:
    with contextlib.closing(peer.sock), contextlib.suppress(peer_side.Hung, peer_side.Refused, AssertionError, OSError):
        peer.handshake()
        talk(peer)


def test_a_bad_server_is_refused(ends: Ends) -> None:
    async def work() -> None:
        spoil = {peer_side.PASS_3: lambda octets: octets[:-1] + bytes([octets[-1] ^ 1])}
        with pytest.raises(AuthenticationError):
            await meet(ends, lambda peer: None, spoil=spoil)

    run(work())


def test_a_changed_message_ends_the_connection(ends: Ends) -> None:
    async def work() -> None:
        spoil = {peer_side.CODE: lambda octets: octets[:-24] + bytes(24)}
        stream = await meet(ends, lambda peer: (peer.send(b"changed"), peer.receive()), spoil=spoil)
        with pytest.raises(IntegrityError):
            await stream.read(1)
        with pytest.raises(ISCLError):
            await stream.write(b"more")
        await stream.close()

    run(work())


def test_a_connection_that_is_cut_is_an_error(ends: Ends) -> None:
    async def work() -> None:
        stream = await meet(ends, lambda peer: None)
        with pytest.raises(ConnectionLostError):
            await stream.read(1)
        await stream.close()

    run(work())


def test_a_peer_that_stops_within_a_message_has_the_time_of_a_step(ends: Ends) -> None:
    def stop(peer: peer_side.IndependentPeer) -> None:
        peer.put(peer_side.SEND_RQ, peer_side.words(0x1212, 1, 0x1441, 8))
        peer.get(peer_side.SEND_RP)
        peer.sock.recv(1)

    async def work() -> None:
        stream = await meet(ends, stop)
        with pytest.raises(StepTimeoutError):
            await stream.read(1)
        await stream.close()

    run(work())


def test_a_refused_disconnection_is_reported(ends: Ends) -> None:
    def refuse(peer: peer_side.IndependentPeer) -> None:
        for _ in range(2):
            peer.get(peer_side.BYE_RQ)
            peer.put(peer_side.BYE_RP, option=peer_side.NAK)

    async def work() -> None:
        stream = await meet(ends, refuse)
        with pytest.raises(RemoteProtocolError) as caught:
            await stream.disconnect()
        assert caught.value.code is ErrorCode.PEER_REFUSED_CLOSE
        assert str(stream.last_error) == str(caught.value)
        await stream.close()

    run(work())
