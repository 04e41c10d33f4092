"""Addresses to listen on, as the file has them: an IP address and a port in one text."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from pydantic_core import PydanticCustomError

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


class ListenAddress(NamedTuple):
    """An IP address of this machine, and a TCP port."""

    host: str
    port: int


def parse_listen_address(value: object) -> ListenAddress:
    """Return the address in a text such as "192.168.10.1:104" or "[2001:db8::1]:104". Raises `PydanticCustomError`.

    Host names are refused: which address a listener has must not depend on a name server.
    """
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("listen_address", "")
    try:
        address = ipaddress.ip_address(found["v6"] or found["v4"])
    except ValueError:
        raise PydanticCustomError("listen_address", "") from None
    port = int(found["port"])
    if (address.version == 6) is not (found["v6"] is not None) or not 1 <= port <= 65535:
        raise PydanticCustomError("listen_address", "")
    return ListenAddress(str(address), port)
