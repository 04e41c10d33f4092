"""Targets of routes: how this node connects to the application entity to which it relays.

`connect` blocks, and is called in the thread of an association. Every address of the target is tried, in the order of
the name server; the time is divided among those that are left.
"""

from __future__ import annotations

import socket
import time
from typing import Protocol

from hsm_dicom.gateway.names import HostAddresses
from hsm_dicom.gateway.settings import PlainDevice
from hsm_dicom.network.errors import ConnectError, SettingsError
from hsm_dicom.network.requestor import secure_connection
from hsm_dicom.network.settings import Peer
from hsm_dicom.transport.plain import PlainTransport
from hsm_dicom.transport.port import Secured, SecureTransport
from hsm_dicom.transport.succession import SuccessorRefusedError

CONNECT_SECONDS = 15.0
_LEAST_SECONDS = 0.05


class Target(Protocol):
    """Where a route leads. `name` is that of the configuration, `transport` says how the connection is secured."""

    @property
    def name(self) -> str:
        """Name of the peer or the plain device in the configuration."""

    @property
    def transport(self) -> str:
        """Name of the transport, such as "TLS"."""

    def connect(self) -> Secured:
        """Connect and secure the connection. Raises `DicomError`, or `OSError`."""


class PeerTarget:
    """A peer, over its secure transport. Its identity is checked before anything is sent to it."""

    def __init__(self, peer: Peer, transport: SecureTransport, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._peer, self._transport, self._seconds = peer, transport, connect_seconds
        self._addresses = _make_addresses(f"peer '{peer.name}'", f"[peers.{peer.name}]", peer.host, peer.port)

    @property
    def name(self) -> str:
        """See `Target`."""
        return self._peer.name

    @property
    def transport(self) -> str:
        """See `Target`."""
        return self._transport.name

    def connect(self) -> Secured:
        """See `Target`. Raises `ConnectError`, `HandshakeError` and `PeerNotAuthorisedError`."""
        try:
            return self._connect()
        except SuccessorRefusedError:  # the next connection shows the old certificate
            return self._connect()

    def _connect(self) -> Secured:
        deadline = time.monotonic() + self._seconds
        connection = connect_tcp(f"'{self.name}' at {self._peer.address}", self._addresses, self._seconds)
        left = max(deadline - time.monotonic(), _LEAST_SECONDS)
        return secure_connection(self._peer, self._transport, connection, left)


class PlainTarget:
    """A plain device, over TCP."""

    def __init__(self, device: PlainDevice, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._device, self._seconds = device, connect_seconds
        self._transport = PlainTransport()
        self._addresses = _make_addresses(
            f"plain device '{device.name}'", f"[plain.{device.name}]", device.host, device.port
        )

    @property
    def name(self) -> str:
        """See `Target`."""
        return self._device.name

    @property
    def transport(self) -> str:
        """See `Target`."""
        return self._transport.name

    def connect(self) -> Secured:
        """See `Target`. Raises `ConnectError`."""
        at = f"'{self.name}' at {self._device.host} port {self._device.port}"
        return self._transport.connect(connect_tcp(at, self._addresses, self._seconds), at, self._seconds)


def connect_tcp(at: str, addresses: HostAddresses, seconds: float) -> socket.socket:
    """Connect to the first address that answers within `seconds`. Raises `ConnectError`; `at` is for its text."""
    deadline = time.monotonic() + seconds
    try:
        endpoints = addresses.resolve(seconds)
    except OSError as error:
        raise ConnectError(f"No connection to {at}: {error}; check the name and the name server.") from error
    why: OSError = OSError("it has no address")
    for number, (family, address) in enumerate(endpoints):
        left = (deadline - time.monotonic()) / (len(endpoints) - number)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(left, _LEAST_SECONDS))
            connection.connect(address)
        except OSError as error:
            connection.close()
            why = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    if isinstance(why, TimeoutError):
        raise ConnectError(
            f"{at} did not answer within {seconds:g} seconds; check that it is switched on and that no firewall blocks "
            "its port."
        ) from why
    raise ConnectError(f"No connection to {at} ({why.strerror or why}); check that a program listens there.") from why


def _make_addresses(what: str, table: str, host: str | None, port: int) -> HostAddresses:
    if host is None:
        raise SettingsError(f"This node cannot connect to {what}: it has no host.", remedy=f"Write host = in {table}.")
    return HostAddresses(host, port)
