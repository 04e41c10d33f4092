"""Addresses of sockets, and the sockets that listen on them.

An IPv4 address has one form here, also where a socket for IPv6 reports it as `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2).
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
from typing import Any

from hsm_dicom.network.errors import ListenError
from hsm_dicom.tls.hosts import ascii_host

Address = tuple[str, int]
"""Host and port."""

_BACKLOG = 128

_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""IP_FREEBIND and IPV6_FREEBIND of Linux (ip(7), linux/in6.h), which the socket module does not name."""

_REMEDIES = {
    errno.EADDRINUSE: "Find the program that uses the port (ss -ltnp), or set another port.",
    errno.EADDRNOTAVAIL: "No interface of this machine has this address; set host to one that ip address lists.",
    errno.EACCES: "Ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or set port to 1024 or above.",
}
"""Remedies for an unusable address, by errno."""


@functools.lru_cache(1024)
def normalise_host(host: str) -> str:
    """Return an IP address in its one form: an IPv4 address that is mapped into IPv6 as IPv4, others unchanged."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return host if mapped is None else str(mapped)


def make_address(name: Any) -> Address:
    """Return host and port of what `accept`, `getsockname` or `getpeername` returned for an internet socket."""
    return normalise_host(str(name[0])), int(name[1])


def open_listening_socket(address: Address) -> socket.socket:
    """Open a listening socket; `::` means all addresses, including IPv4. Raises `ListenError`.

    An address that no interface has is used all the same: at boot, and on a node that takes an address over from
    another one, the interface gets it later. Connections are accepted from then on.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        try:
            return _listen(family, address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
        return _listen(family, address, is_free=True)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Correct host and port of the listener.")
        why = os.strerror(error.errno or 0)
        raise ListenError(f"The listener cannot use {format_address(address)}: {why}. {remedy}") from error


def can_bind(host: str) -> bool:
    """Return whether an interface of this machine has an address now. Raises nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def has_address(host: str) -> bool:
    """Return whether a host is an address, or a name that has an address now. Raises nothing."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def check_bound_socket(name: str, bound: socket.socket) -> None:
    """Raise `ListenError` unless a socket that this process was given is one that listens for TCP connections."""
    what = f"The socket '{name}' that systemd passed"
    if bound.family not in _FREEBIND or bound.type != socket.SOCK_STREAM:
        raise ListenError(f"{what} is not one for TCP. Write ListenStream=ADDRESS:PORT in its socket unit.")
    if not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(f"{what} does not listen. Write Accept=no in its socket unit.")


def format_address(address: Address) -> str:
    """Return an address for messages, as `host:port` or `[host]:port`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(family: socket.AddressFamily, address: Address, *, is_free: bool = False) -> socket.socket:
    host, port = address
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            every = host == "::" and socket.has_dualstack_ipv6()
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
        if is_free:
            listening.setsockopt(*_FREEBIND[family], 1)
        listening.bind((ascii_host(host), port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
