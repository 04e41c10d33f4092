"""ISCL for asyncio: a stream of verified octets each way.

    async with await aio.open_connection(context, "pacs.example", 2761) as stream:
        await stream.write(pdu)
        answer = await stream.read(65536)

Calls of a device block, so each stream works in a thread of its own; the event loop only moves octets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from hsm_dicom.iscl.context import PORT, ISCLContext, format_peer
from hsm_dicom.iscl.errors import ConnectionLostError, ErrorCode, ISCLError, StepTimeoutError
from hsm_dicom.iscl.protocol.session import Session
from hsm_dicom.iscl.protocol.states import State
from tokens.errors import fresh_copy
from tokens.printable import format_seconds

CHUNK = 256 * 1024
"""Octets that are read from the connection at once, at most."""

_END_SECONDS = 30.0
"""How long the end of a stream waits for its device."""


async def open_connection(context: ISCLContext, host: str, port: int = PORT) -> ISCLStream:
    """Connect and shake hands. Raises `ISCLError`, or `OSError` where there is no connection."""
    reader, writer = await asyncio.open_connection(host, port)
    return await wrap(context, reader, writer, server_hostname=host)


async def start_server(
    context: ISCLContext, serve: Callable[[ISCLStream], Awaitable[None]], host: str = "127.0.0.1", port: int = PORT
) -> asyncio.Server:
    """Listen; each peer that is authenticated is served by `serve`, and disconnected when that returns.

    A peer that is not leaves nothing but the event `IsclFailed`.
    """

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ISCLError):
            async with await wrap(context, reader, writer, server_side=True) as stream:
                await serve(stream)

    return await asyncio.start_server(serve_connection, host, port)


async def wrap(
    context: ISCLContext,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
) -> ISCLStream:
    """Shake hands over a connected pair of asyncio streams (plain or TLS). They are closed when this raises."""
    peer = server_hostname or format_peer(writer.get_extra_info("peername"))
    stream = ISCLStream(reader, writer, context.session(server_side, peer))
    try:
        await stream._shake_hands()
    except BaseException:
        await stream.abort()
        raise
    return stream


class ISCLStream:
    """One end of an ISCL connection. Methods raise `ISCLError`; one task at a time may read, any number write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session
        self._changed = asyncio.Condition()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="iscl")
        self._alarm: asyncio.TimerHandle | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._aborted = False
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):  # not a TCP socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- data -----------------------------------------------------------------------------------------------

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` verified octets; none after the peer's disconnection."""
        session = self._session
        await self._until(lambda: bool(session.readable))
        async with self._changed:
            data = session.read(most)
        if data:
            await self._work(session.proceed)
        elif session.connection.error is not None:
            raise fresh_copy(session.connection.error)
        return data

    async def readexactly(self, count: int) -> bytes:
        """Return exactly this many octets. Raises `asyncio.IncompleteReadError` if the peer disconnects before."""
        data = b""
        while len(data) < count:
            more = await self.read(count - len(data))
            if not more:
                raise asyncio.IncompleteReadError(data, count)
            data += more
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns when the last octet was handed to the connection."""
        await self._send(self._session.write, data)

    async def write_through(self, data: bytes) -> None:
        """Send without any protection, where that is allowed explicitly (`ISCLSettings.allow`)."""
        await self._send(self._session.write_through, data)

    # -- the end --------------------------------------------------------------------------------------------

    async def disconnect(self) -> None:
        """End the connection by the disconnection protocol. Raises `RemoteProtocolError` (115) if the peer refuses."""
        session = self._session

        def begin() -> Iterator[bytes]:
            session.disconnect()
            return session.proceed()

        await self._work(begin)
        await self._until(lambda: session.close_refused is not None)
        if session.close_refused is not None:
            raise fresh_copy(session.close_refused)
        if session.connection.error is not None:
            raise fresh_copy(session.connection.error)

    async def close(self) -> None:
        """End the connection with the disconnection protocol if that is possible, else without."""
        if self._session.is_ready and not self._session.has_ended:
            with contextlib.suppress(OSError):
                await self.disconnect()
        await self.abort()

    async def abort(self) -> None:
        """Close at once, without the disconnection protocol."""
        if self._alarm is not None:
            self._alarm.cancel()
        for task in (self._pump, self._expiring):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task
        self._writer.close()
        if not self._aborted:
            self._aborted = True
            # Submitted before anything is awaited, so that a cancelled task releases the device too.
            released = asyncio.get_running_loop().run_in_executor(self._thread, self._session.close)
            self._thread.shutdown(wait=False)
            done, _ = await asyncio.wait([released], timeout=_END_SECONDS)
            if done:
                self._thread.shutdown(wait=True)  # no work is left: the thread ends at once
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- what can be read of the connection -----------------------------------------------------------------

    @property
    def status(self) -> State:
        """Where the connection is."""
        return self._session.connection.state

    @property
    def peer_authentication_data(self) -> bytes | None:
        """What the peer calls itself; None before it did."""
        return self._session.connection.peer_authentication_data

    @property
    def last_error(self) -> ISCLError | None:
        """Why the connection failed, or why the peer refused to disconnect."""
        return self._session.connection.error or self._session.close_refused

    # -- how it works ---------------------------------------------------------------------------------------

    async def _shake_hands(self) -> None:
        await self._work(self._session.start)
        self._pump = asyncio.create_task(self._read_line())
        await self._until(lambda: self._session.is_ready)
        self._require(self._session.is_ready)

    async def _send(self, take: Callable[[bytes], int], data: bytes) -> None:
        session = self._session
        ticket = 0

        def begin() -> Iterator[bytes]:
            nonlocal ticket
            ticket = take(data)
            return session.proceed()

        await self._work(begin)
        await self._until(lambda: session.sent >= ticket)
        self._require(session.sent >= ticket)

    def _require(self, done: bool) -> None:
        if not done:
            if self._session.connection.error is not None:
                raise fresh_copy(self._session.connection.error)
            raise ConnectionLostError(
                ErrorCode.CONNECTION_LOST, f"{self._session.peer} disconnected before everything was sent."
            )

    async def _until(self, done: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: done() or self._session.has_ended)

    async def _read_line(self) -> None:
        with contextlib.suppress(ISCLError):  # the session raises it in the waiting calls
            while not self._session.has_ended:
                try:
                    octets = await self._reader.read(CHUNK)
                except OSError:
                    octets = b""
                await self._work(partial(self._session.receive, octets))

    async def _work(self, begin: Callable[[], Iterator[bytes]]) -> None:
        """Have the stream's thread do what a session gives; what is to be sent is sent as it comes."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            for octets in begin():
                loop.call_soon_threadsafe(self._writer.write, octets)

        async with self._changed:
            steps = self._session.steps
            try:
                await loop.run_in_executor(self._thread, work)
            except ISCLError:
                if self._session.has_ended:
                    self._writer.close()
                raise
            finally:
                self._set_alarm(self._session.steps != steps)
                self._changed.notify_all()
        with contextlib.suppress(OSError):  # reading from a broken connection raises the error
            await self._writer.drain()

    def _set_alarm(self, stepped: bool) -> None:
        """Set a timer while the peer owes a message; restart it for each message."""
        seconds = self._session.step_timeout
        if self._alarm is not None and (stepped or seconds is None):
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        sentence = f"{self._session.peer} let {format_seconds(seconds)} pass in the state '{self.status}'."
        error = StepTimeoutError(ErrorCode.TIMED_OUT, sentence)

        async def give_up() -> None:
            with contextlib.suppress(ISCLError):
                await self._work(lambda: self._session.give_up(error))

        self._expiring = asyncio.create_task(give_up())
