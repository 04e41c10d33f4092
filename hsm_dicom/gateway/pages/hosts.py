"""The names of the host that a request may be for: those of this host, and configured ones.

A web site can have its own name resolve to 127.0.0.1, so that a browser on this host reads the page for it (DNS
rebinding). Such a request has the name of the web site in its Host header (RFC 9110, 7.2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_LOCAL = "localhost"


def is_own_host(header: str, others: Iterable[str] = ()) -> bool:
    """Return whether a Host header names this host: localhost, a loopback address, or one of `others`; any port."""
    name = _name_of(header.strip().lower())
    return name == _LOCAL or is_loopback(name) or name.rstrip(".") in {other.lower().rstrip(".") for other in others}


def is_loopback(host: str) -> bool:
    """Return whether a host is an address of the loopback interface (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(header: str) -> str:
    """Return the name or the address in a Host header, without port and brackets; "" if it is malformed."""
    if header.startswith("["):
        address, bracket, port = header[1:].partition("]")
        return address if bracket and _is_port(port) else ""
    name, colon, port = header.partition(":")
    return name if _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text[1:].isascii() and (text[1:].isdigit() or text == ":"))
