"""One HTTP exchange with a deadline for all of it and a limit for its answer, by http or https only.

Built on aiohttp, whose total timeout covers connecting, redirects and a server that trickles bytes. The
exchange runs in a thread of its own with its own event loop, so that it works for
callers with and without a running loop, and a name server that never answers blocks that thread, not the caller.
Proxies come from the environment.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hsm_dicom.trust.errors import FetchError

if TYPE_CHECKING:
    import aiohttp

_MAX_REDIRECTS = 3
_CHUNK = 65536
_GRACE = 1.0
"""Seconds after the deadline in which the thread can report its timeout itself."""


@dataclass(frozen=True)
class Exchange:
    """Request to a URL and its limits; a POST if there is a `body`, else a GET.

    `seconds` is the limit for the whole exchange, `max_bytes` that for the answer. `roots` is a PEM file of CAs for
    https; by default, those of the operating system are used.
    """

    url: str
    body: bytes | None = None
    content_type: str | None = None
    seconds: float = 10.0
    max_bytes: int = 64 * 1024 * 1024
    roots: Path | None = None


def fetch(exchange: Exchange) -> bytes:
    """Return the body of the answer. Raises FetchError with the address and the reason."""
    scheme = _scheme(exchange.url)
    if scheme not in ("http", "https"):
        raise FetchError(exchange.url, "only http and https addresses are fetched")
    result: Future[bytes] = Future()
    threading.Thread(target=_in_thread, args=(exchange, result), name="fetch", daemon=True).start()
    try:
        return result.result(exchange.seconds + _GRACE)
    except TimeoutError as error:
        raise _too_slow(exchange) from error


def _scheme(url: str) -> str | None:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return None


def _in_thread(exchange: Exchange, result: Future[bytes]) -> None:
    try:
        result.set_result(asyncio.run(_exchange(exchange)))
    except Exception as error:  # handed to the waiting thread
        result.set_exception(_in_words(exchange, error))


def _in_words(exchange: Exchange, error: Exception) -> FetchError:
    if isinstance(error, FetchError):
        return error
    if isinstance(error, TimeoutError):
        return _too_slow(exchange)
    return FetchError(exchange.url, f"cannot be fetched ({error or type(error).__name__})")


def _too_slow(exchange: Exchange) -> FetchError:
    return FetchError(exchange.url, f"no complete answer within {exchange.seconds:g} s")


async def _exchange(exchange: Exchange) -> bytes:
    import aiohttp  # a third of a second to import, and only needed where something is fetched

    headers = {"Accept-Encoding": "identity"}
    if exchange.content_type is not None:
        headers["Content-Type"] = exchange.content_type
    tls = ssl.create_default_context(cafile=exchange.roots) if exchange.roots else True
    timeout = aiohttp.ClientTimeout(total=exchange.seconds)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session,
        session.request(
            "GET" if exchange.body is None else "POST",
            exchange.url,
            data=exchange.body,
            headers=headers,
            ssl=tls,
            max_redirects=_MAX_REDIRECTS,
        ) as response,
    ):
        if response.status != 200:
            raise FetchError(exchange.url, f"the server answered {response.status} {response.reason}")
        return await _body(response, exchange)


async def _body(response: aiohttp.ClientResponse, exchange: Exchange) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > exchange.max_bytes:
            raise FetchError(exchange.url, f"the answer is larger than {exchange.max_bytes} bytes")
    return bytes(body)
