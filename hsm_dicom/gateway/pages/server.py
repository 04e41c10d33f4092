"""The server of the status: an aiohttp application in a thread of its own, which only reads and has no control."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from aiohttp import web

from hsm_dicom.gateway.pages.answers import PATHS, Answer, Answers
from hsm_dicom.gateway.pages.connections import REQUEST_BYTES, Connections
from hsm_dicom.gateway.pages.doors import Door, open_door
from hsm_dicom.gateway.pages.hosts import is_own_host
from hsm_dicom.gateway.settings import StatusSettings
from hsm_dicom.gateway.status import GatewayStatus
from hsm_dicom.network.addresses import Address

_STOP_SECONDS = 5.0

_POLICY = "Content-Security-Policy"

HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    _POLICY: "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "hsm-dicom",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer; the page has a Content-Security-Policy that also admits its own style sheet."""

_FOREIGN_HOST = (
    "This page is served for localhost and loopback addresses. "
    "Add the host of this request to hosts in [status] to serve it for that one.\n"
)

_SILENT = logging.Logger("hsm_dicom.gateway.pages.http")
_SILENT.disabled = True
"""For aiohttp, which logs a traceback for each malformed request, so that many of them would fill the log."""


class StatusServer:
    """Serves the status of a gateway until it is closed; a context manager.

    `snapshot` is called in the server's thread, once for all requests of `snapshot_seconds`. A status that cannot be
    read is an answer with status 500, and an error in the log.
    """

    def __init__(
        self,
        settings: StatusSettings,
        snapshot: Callable[[], GatewayStatus],
        *,
        snapshot_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._answers = Answers(snapshot, snapshot_seconds)
        self._address: Address | Path | None = None
        self._stopping = asyncio.Event()

    def __enter__(self) -> Self:
        """Listen, and begin to serve. Raises `StatusPageError` if the address or the socket cannot be used."""
        door = open_door(self._settings)
        self._address = door.address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(door,), name="status page", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def address(self) -> Address | Path:
        """Where the server listens: host and port, or the path of the Unix socket."""
        if self._address is None:
            raise RuntimeError("The status page is not served yet.")
        return self._address

    def close(self) -> None:
        """Stop listening and end every connection at once, whatever clients do. Further calls do nothing."""
        if self._address is None or not self._thread.is_alive():
            return
        # The loop is closed if the thread ends meanwhile.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        # A snapshot that never returns must not keep the gateway from stopping.
        self._thread.join(_STOP_SECONDS)

    def _run(self, door: Door) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(door))
        finally:
            door.close()

    async def _serve(self, door: Door) -> None:
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_SILENT,
            max_line_size=REQUEST_BYTES // 4,
            max_field_size=REQUEST_BYTES // 4,
            lingering_time=0,
            shutdown_timeout=_STOP_SECONDS / 10,
        )
        await runner.setup()
        connections = Connections(cast(web.Server, runner.server))
        accepting = asyncio.create_task(connections.accept_forever(door.socket))
        await self._stopping.wait()
        accepting.cancel()
        await asyncio.wait([accepting])
        connections.abort()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=REQUEST_BYTES)
        application.on_response_prepare.append(_complete)
        for path, find_answer in PATHS.items():
            application.router.add_get(path, self._handler(find_answer))
        return application

    def _handler(self, find_answer: Callable[[Answers], Answer]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if not is_own_host(request.headers.get("Host", ""), self._settings.hosts):
                return web.Response(status=HTTPStatus.MISDIRECTED_REQUEST, text=_FOREIGN_HOST)
            found = find_answer(self._answers)
            return web.Response(body=found.body, status=found.status, headers=found.headers)

        return answer


async def _complete(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add the headers that every answer has, and end the connection with it."""
    policy = response.headers.get(_POLICY, HEADERS[_POLICY])
    response.headers.update({**HEADERS, _POLICY: policy})
    response.force_close()
