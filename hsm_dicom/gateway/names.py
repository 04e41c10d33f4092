"""Addresses of host names, so that a name server that fails or does not answer delays no association for long.

`getaddrinfo` cannot be interrupted. It runs in a daemon thread, at most one for each name, and callers wait for it no
longer than they want to. The last addresses that a name had are used while it cannot be resolved.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from hsm_dicom.tls.hosts import ascii_host, is_address

_PATIENCE_SECONDS = 2.0
"""How long a lookup may take if earlier addresses of the name are known."""

Endpoint = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family and socket address, as `socket.connect` takes it."""


@dataclass
class _Lookup:
    """A lookup in progress, in a thread of its own."""

    is_done: threading.Event = field(default_factory=threading.Event)
    found: tuple[Endpoint, ...] = ()
    error: str = ""


class HostAddresses:
    """The addresses of one host. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = ascii_host(host), port
        self._known: tuple[Endpoint, ...] = ()
        self._lookup: _Lookup | None = None
        self._changing = threading.Lock()
        if is_address(self._host):
            self._known = _resolve(self._host, port)

    def resolve(self, seconds: float) -> tuple[Endpoint, ...]:
        """Return the addresses, after at most `seconds`. Raises `OSError` if none were ever found."""
        if is_address(self._host):
            return self._known
        lookup = self._begin()
        lookup.is_done.wait(min(seconds, _PATIENCE_SECONDS) if self._known else seconds)
        with self._changing:
            if lookup.found:
                self._known = lookup.found
            if self._known:
                return self._known
        raise OSError(lookup.error or f"the name server did not answer for '{self._host}' within {seconds:g} seconds")

    def _begin(self) -> _Lookup:
        with self._changing:
            if self._lookup is None or self._lookup.is_done.is_set():
                lookup, name = _Lookup(), f"resolve-{self._host}"
                try:
                    threading.Thread(target=self._run, args=(lookup,), name=name, daemon=True).start()
                except RuntimeError as error:  # no more threads: the next caller tries again
                    lookup.error = f"'{self._host}' cannot be resolved: {error}"
                    lookup.is_done.set()
                self._lookup = lookup
            return self._lookup

    def _run(self, lookup: _Lookup) -> None:
        try:
            lookup.found = _resolve(self._host, self._port)
        except OSError as error:
            lookup.error = f"'{self._host}' cannot be resolved: {error.strerror or error}"
        finally:
            lookup.is_done.set()


def _resolve(host: str, port: int) -> tuple[Endpoint, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple((family, address) for family, _, _, _, address in found)
