"""What the tests of ISCL share: keys on SoftHSM, both ends of a line, and the independent peer at one of them."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from hsm_dicom.iscl import Encryption, ISCLContext, ISCLHooks, ISCLSettings, ISCLSocket, Mac, Weakness
from tests.hsm_dicom.iscl.independent import IndependentPeer
from tests.tokens.secrets.devices import KEYS
from tokens.secrets import Secrets, Use

AUTHENTICATION_KEY = bytes.fromhex(KEYS[Use.AUTHENTICATION, 1])
ENCRYPTION_KEY = bytes.fromhex(KEYS[Use.ENCRYPTION, 1])

SECONDS = 20
"""No test waits longer for a thread."""

T = TypeVar("T")


@dataclass(frozen=True)
class Mode:
    """One way of protecting messages."""

    mac: Mac
    encryption: Encryption
    unique: bool

    def __str__(self) -> str:
        keys = "unique" if self.unique else "fixed"
        return f"{self.mac.name}-{self.encryption.name}-{keys}".lower().replace("_", "")


MODES = [
    Mode(mac, encryption, unique)
    for mac, encryption, unique in itertools.product(
        (Mac.MD5, Mac.DES_MAC), (Encryption.NONE, Encryption.DES_CBC), (False, True)
    )
]


@dataclass(frozen=True)
class Ends:
    """The same secrets in the hands of two parties."""

    ours: Secrets
    theirs: Secrets


def settings(mode: Mode | None = None, **options: Any) -> ISCLSettings:
    """Settings for a mode, with what it needs to be allowed by name."""
    if mode is not None:
        options.update(mac=mode.mac, encryption=mode.encryption, unique_keys=mode.unique)
    allow = set(options.pop("allow", ()))
    if options.get("encryption") is Encryption.NONE:
        allow.add(Weakness.NO_ENCRYPTION)
    if options.get("mac") is Mac.NONE:
        allow.add(Weakness.NO_MAC)
    if options.get("mac") is Mac.DES_MAC:
        allow.add(Weakness.DES_MAC_WITH_ENCRYPTION_KEY)
    return ISCLSettings(allow=frozenset(allow), **options)


@contextlib.contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected pair with a timeout, closed in any case."""
    a, b = socket.socketpair()
    with a, b:
        a.settimeout(SECONDS)
        b.settimeout(SECONDS)
        yield a, b


@contextlib.contextmanager
def meanwhile(work: Callable[[], T]) -> Iterator[Future[T]]:
    """Have another thread do `work`."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


@contextlib.contextmanager
def line(
    ends: Ends,
    server: ISCLSettings,
    client: ISCLSettings | None = None,
    *,
    server_hooks: ISCLHooks | None = None,
    client_hooks: ISCLHooks | None = None,
) -> Iterator[tuple[ISCLSocket, ISCLSocket]]:
    """Both ends ours: server and client, connected and authenticated."""
    serving = ISCLContext(server, ends.ours, hooks=server_hooks)
    asking = ISCLContext(client or server, ends.theirs, hooks=client_hooks)
    with sockets() as (a, b):
        with meanwhile(lambda: serving.wrap_socket(a, server_side=True)) as accepted:
            connected = asking.wrap_socket(b)
        at_server = accepted.result(SECONDS)
        try:
            yield at_server, connected
        finally:
            connected.abort()
            at_server.abort()


def independent(sock: socket.socket, server: bool, mode: Mode | None = None, **options: Any) -> IndependentPeer:
    """The independent peer with the keys that are on the device."""
    if mode is not None:
        options.update(mac=int(mode.mac), encryption=int(mode.encryption), unique=mode.unique)
    options.setdefault("authentication_key", AUTHENTICATION_KEY)
    options.setdefault("encryption_key", ENCRYPTION_KEY)
    return IndependentPeer(sock, server=server, **options)
