"""A proxy on loopback that connects (RFC 9110, 9.3.6) and remembers to what."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Self


class ConnectProxy:
    """An HTTP proxy for CONNECT alone, in threads of its own; `targets` are the hosts and ports that were asked for."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        targets = self.targets

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                method, target, _ = self.rfile.readline().decode().split()
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                if method != "CONNECT":
                    self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                    return
                targets.append(target)
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port)), timeout=60) as there:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=copy, args=(there, self.connection))
                    back.start()
                    copy(self.connection, there)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy octets until the source ends or either end breaks."""
    try:
        while octets := source.recv(65536):
            target.sendall(octets)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
