"""Find out what a TLS server offers, by ClientHello and ServerHello alone, for every version, retired ones included.

No private key is used, so a server can be asked often. RFC 8446, 4.1; RFC 5246, 7.4.1.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hsm_dicom.tls.hosts import ascii_host, is_address

SSL3, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304
VERSION_NAMES = {SSL3: "SSLv3", TLS10: "TLSv1.0", TLS11: "TLSv1.1", TLS12: "TLSv1.2", TLS13: "TLSv1.3"}

_HANDSHAKE, _ALERT = 22, 21
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _VERSIONS, _KEY_SHARE = 0, 10, 11, 13, 43, 51
GROUP_NAMES = {
    0x11EC: "X25519MLKEM768",
    0x11EB: "SecP256r1MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
    29: "x25519",
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    30: "x448",
    256: "ffdhe2048",
}
"""Groups of the IANA registry "TLS Supported Groups" that a server is asked for. The hybrids are for TLS 1.3 only."""
_HYBRIDS = (0x11EC, 0x11EB, 0x11ED)
# ECDSA, RSA-PSS and RSA PKCS#1 with SHA-2; ed25519, ed448; RSA and ECDSA with SHA-1, for the old ones
_EVERY_SIGNATURE = (
    *(0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),
    *(0x0401, 0x0501, 0x0601, 0x0807, 0x0808, 0x0201, 0x0203),
)
_LONGEST_ANSWER = 1 << 16


class _NoServerHelloError(Exception):
    """The server answered with something else: an alert (then `alert` is its number), nothing, or no TLS at all."""

    def __init__(self, what: str, alert: int | None = None) -> None:
        super().__init__(what)
        self.alert = alert


@dataclass(frozen=True)
class ServerHello:
    """What the server chose. `group` is that of TLS 1.3's key exchange, in a HelloRetryRequest too; else None."""

    version: int
    suite: int
    group: int | None = None


def ask(
    address: tuple[str, int],
    version: int,
    suites: Sequence[int],
    name: str | None,
    seconds: float,
    groups: Sequence[int] = tuple(GROUP_NAMES),
) -> ServerHello:
    """Offer one version, some suites and groups, and return the server's choice.

    In TLS 1.3 no key share is sent, so that the server answers with a HelloRetryRequest for the group that it prefers
    (RFC 8446, 4.2.8). Raises `_NoServerHelloError`, `OSError`.
    """
    deadline = time.monotonic() + seconds
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(client_hello(version, suites, name, groups))
        return _read_server_hello(connection, deadline)


def server_name(host: str) -> str | None:
    """Return the host for the server name extension; None for an address (RFC 6066, 3)."""
    return None if is_address(host) else ascii_host(host)


def client_hello(
    version: int, suites: Sequence[int], name: str | None = None, groups: Sequence[int] = tuple(GROUP_NAMES)
) -> bytes:
    """Build a record with a ClientHello. `name` goes into the server name extension (RFC 6066, 3)."""
    legacy_version = min(version, TLS12)
    codes = b"".join(struct.pack(">H", code) for code in suites)
    body = struct.pack(">H", legacy_version) + os.urandom(32)
    body += _short(os.urandom(32) if version == TLS13 else b"") + _long(codes) + _short(b"\0")
    if version != SSL3:
        body += _long(_extensions(version, name, groups))
    message = struct.pack(">B", _CLIENT_HELLO) + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", _HANDSHAKE, min(version, TLS10), len(message)) + message


def _extensions(version: int, name: str | None, groups: Sequence[int]) -> bytes:
    found = b""
    if name is not None:
        found += _extension(_SERVER_NAME, _long(b"\0" + _long(name.encode("ascii"))))
    groups = [group for group in groups if version == TLS13 or group not in _HYBRIDS]
    found += _extension(_GROUPS, _long(_numbers(groups)))
    found += _extension(_POINT_FORMATS, _short(b"\0"))
    if version >= TLS12:
        found += _extension(_SIGNATURES, _long(_numbers(_EVERY_SIGNATURE)))
    if version == TLS13:
        found += _extension(_VERSIONS, _short(_numbers([TLS13])))
        found += _extension(_KEY_SHARE, _long(b""))
    return found


def _read_server_hello(connection: socket.socket, deadline: float) -> ServerHello:
    kind, payload = _read_record(connection, deadline)
    if kind == _ALERT and len(payload) >= 2:
        raise _NoServerHelloError(f"alert {payload[1]}", payload[1])
    if kind != _HANDSHAKE:
        raise _NoServerHelloError("no TLS")
    # A ServerHello may lie in several records; the fixed part and the session are all that is needed up front.
    while len(payload) < 4 or len(payload) < 4 + int.from_bytes(payload[1:4], "big"):
        more_kind, more = _read_record(connection, deadline)
        if more_kind != _HANDSHAKE or len(payload) > _LONGEST_ANSWER:
            raise _NoServerHelloError("a broken handshake")
        payload += more
    return parse_server_hello(payload)


def parse_server_hello(message: bytes) -> ServerHello:
    """Parse the choice in a ServerHello or HelloRetryRequest. Raises `_NoServerHelloError`."""
    try:
        if message[0] != _SERVER_HELLO:
            raise _NoServerHelloError("another message than a ServerHello")
        body = message[4 : 4 + int.from_bytes(message[1:4], "big")]
        (version,) = struct.unpack_from(">H", body, 0)
        place = 34 + 1 + body[34]
        (suite,) = struct.unpack_from(">H", body, place)
        extensions = _read_extensions(body[place + 3 :])
        selected = extensions.get(_VERSIONS, b"")
        if len(selected) == 2:
            (version,) = struct.unpack(">H", selected)
        share = extensions.get(_KEY_SHARE, b"")
        group = int.from_bytes(share[:2], "big") if len(share) >= 2 else None
        return ServerHello(version, suite, group)
    except (IndexError, struct.error) as error:
        raise _NoServerHelloError("a broken ServerHello") from error


def _read_extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    place = 2
    while place + 4 <= len(data):
        kind, length = struct.unpack_from(">HH", data, place)
        found[kind] = data[place + 4 : place + 4 + length]
        place += 4 + length
    return found


def _read_record(connection: socket.socket, deadline: float) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BHH", _read(connection, 5, deadline))
    if kind not in (_HANDSHAKE, _ALERT):
        return int(kind), b""
    return int(kind), _read(connection, min(length, _LONGEST_ANSWER), deadline)


def _read(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise _NoServerHelloError("an end without an answer")
        data += chunk
    return data


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">H", kind) + _long(content)


def _numbers(values: Sequence[int]) -> bytes:
    return b"".join(struct.pack(">H", value) for value in values)


def _short(content: bytes) -> bytes:
    return bytes([len(content)]) + content


def _long(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
