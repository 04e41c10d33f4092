"""The status of a gateway that runs on this host, read from its status page."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus

from hsm_dicom.gateway.pages.doors import StatusPageError
from hsm_dicom.gateway.pages.status_json import StatusDocumentError, parse_status
from hsm_dicom.gateway.settings import StatusSettings
from hsm_dicom.gateway.status import GatewayStatus
from hsm_dicom.network.addresses import format_address

MOST_BYTES = 16 * 1024 * 1024
"""Length of a status at most: that of a gateway with thousands of routes is shorter."""


def fetch_status(settings: StatusSettings, *, seconds: float = 5.0) -> GatewayStatus:
    """Return the status of the gateway with these settings, after `seconds` at most. Raises `StatusPageError`."""
    import aiohttp  # a third of a second to import

    where = _describe(settings)
    try:
        return parse_status(asyncio.run(_read(settings, seconds)))
    except StatusDocumentError as error:
        raise StatusPageError(f"What answers at {where} is no gateway of this version. {error}") from error
    except TimeoutError as error:
        raise StatusPageError(
            f"The gateway at {where} did not answer within {seconds:g} seconds. Read its log, or restart it."
        ) from error
    except (OSError, aiohttp.ClientError) as error:
        cause = getattr(error, "os_error", error)
        if isinstance(cause, PermissionError):
            raise StatusPageError(
                f"This user may not open {where}. Run the command as the gateway's user, or as one in its group."
            ) from error
        why = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else cause
        raise StatusPageError(
            f"No gateway serves its status at {where} ({why}). Start it with hsm-dicom gateway run, or correct "
            "[status] in the configuration."
        ) from error


async def _read(settings: StatusSettings, seconds: float) -> bytes:
    import aiohttp

    connector = None if settings.socket is None else aiohttp.UnixConnector(str(settings.socket))
    host = "localhost" if settings.listen is None else format_address(settings.listen)
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.get(f"http://{host}/status.json", allow_redirects=False) as response,
    ):
        if response.status != HTTPStatus.OK:
            raise StatusDocumentError(f"The answer has the status {response.status}.")
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MOST_BYTES:
                raise StatusDocumentError(f"The answer is longer than {MOST_BYTES} bytes.")
        return bytes(body)


def _describe(settings: StatusSettings) -> str:
    if settings.socket is not None:
        return str(settings.socket)
    if settings.listen is not None:
        return format_address(settings.listen)
    raise StatusPageError("The configuration has no status page. Add a table [status] with listen or socket.")
