"""A handshake in memory: two contexts, no socket, no thread."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class Ends:
    """Both ends of a connection whose handshake is done."""

    client: ssl.SSLObject
    server: ssl.SSLObject

    def exchange(self, data: bytes) -> bytes:
        """Send from the client; what the server reads."""
        self.client.write(data)
        return self.server.read(len(data))


def handshake(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    host: str | None = "localhost",
    session: ssl.SSLSession | None = None,
) -> Ends:
    """Let both sides speak until they are done. What either raises is passed on."""
    towards_server, towards_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(towards_client, towards_server, server_hostname=host, session=session)
    server_end = server.wrap_bio(towards_server, towards_client, server_side=True)
    waiting = [client_end, server_end]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    return Ends(client_end, server_end)
