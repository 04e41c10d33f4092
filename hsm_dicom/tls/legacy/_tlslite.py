"""The only module that uses tlslite-ng (LGPL-2.1): base classes to extend, and the names that are called.

tlslite-ng documents how to make connections, not how to replace its ciphers, its messages or its keys. Other modules
of this package extend the classes below. `METHODS` and `ATTRIBUTES` list everything that is relied on;
tests/hsm_dicom/tls/test_tlslite_seam.py checks each entry against the installed version.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

with warnings.catch_warnings():
    # tlslite-ng 0.8 imports asyncore, which Python 3.11 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tlslite.constants import AlertDescription  # type: ignore[import-untyped]
    from tlslite.errors import (  # type: ignore[import-untyped]
        BaseTLSException,
        TLSAbruptCloseError,
        TLSLocalAlert,
        TLSRemoteAlert,
    )
    from tlslite.handshakesettings import HandshakeSettings  # type: ignore[import-untyped]
    from tlslite.messages import ClientHello, ServerHello, ServerKeyExchange  # type: ignore[import-untyped]
    from tlslite.recordlayer import RecordLayer  # type: ignore[import-untyped]
    from tlslite.tlsconnection import TLSConnection  # type: ignore[import-untyped]
    from tlslite.utils.rsakey import RSAKey  # type: ignore[import-untyped]
    from tlslite.x509 import X509  # type: ignore[import-untyped]
    from tlslite.x509certchain import X509CertChain  # type: ignore[import-untyped]

Undo = Callable[[], None]
CipherSettings = tuple[int, int, Callable[..., Any]]
"""Bytes of the key, bytes of the IV, and the function that makes the cipher of one direction."""

BAD_CERTIFICATE = 42
"""The alert (RFC 5246, 7.2.2)."""

_HANDSHAKE_ARGUMENTS = ("certChain", "privateKey", "settings")

METHODS: Mapping[tuple[type, str], tuple[str, ...]] = {
    (RSAKey, "acceptsPassword"): ("self",),
    (RSAKey, "addPKCS1Prefix"): ("data", "hashName"),
    (RSAKey, "decrypt"): ("self", "encBytes"),
    (RSAKey, "hasPrivateKey"): ("self",),
    (RSAKey, "sign"): ("self", "bytes", "padding", "hashAlg", "saltLen"),
    (RSAKey, "_rawPublicKeyOp"): ("self", "ciphertext"),
    (RecordLayer, "__init__"): ("self", "sock"),
    (RecordLayer, "_getCipherSettings"): ("cipherSuite",),
    (TLSConnection, "__init__"): ("self", "sock"),
    (TLSConnection, "_getMsg"): ("self", "expectedType", "secondaryType", "constructorType"),
    (TLSConnection, "_sendError"): ("self", "alertDescription", "errorStr"),
    (TLSConnection, "_sendMsg"): ("self", "msg", "randomizeFirstBlock", "update_hashes"),
    (TLSConnection, "closeAsync"): ("self",),
    (TLSConnection, "readAsync"): ("self", "max", "min"),
    (TLSConnection, "writeAsync"): ("self", "s"),
    (X509, "parseBinary"): ("self", "cert_bytes"),
    (X509, "writeBytes"): ("self",),
}
"""Methods that are called or overridden, with the names of their parameters."""

KEYWORDS: Mapping[tuple[type, str], frozenset[str]] = {
    (TLSConnection, "handshakeServerAsync"): frozenset((*_HANDSHAKE_ARGUMENTS, "reqCert")),
    (TLSConnection, "handshakeClientCert"): frozenset((*_HANDSHAKE_ARGUMENTS, "serverName", "async_")),
}
"""Methods that are called with keywords, among others that they have."""

ATTRIBUTES: Mapping[type, tuple[str, ...]] = {
    ClientHello: ("cipher_suites",),
    HandshakeSettings: (
        "certificateTypes",
        "certificate_compression_receive",
        "certificate_compression_send",
        "cipherNames",
        "dhGroups",
        "dhParams",
        "keyExchangeNames",
        "macNames",
        "maxKeySize",
        "maxVersion",
        "minKeySize",
        "minVersion",
        "more_sig_schemes",
        "pskConfigs",
        "rsaSchemes",
        "ticketKeys",
        "ticket_count",
        "useEncryptThenMAC",
        "useExtendedMasterSecret",
        "use_heartbeat_extension",
    ),
    RSAKey: ("_key_hash", "e", "key_type", "n"),
    ServerHello: ("cipher_suite",),
    ServerKeyExchange: ("dh_p",),
    TLSConnection: ("_recordLayer", "closeSocket", "resumed", "session", "sock", "version"),
}
"""Attributes that are read or set on objects of these classes."""


class BaseRecordLayer(RecordLayer):  # type: ignore[misc]
    """tlslite-ng's record layer, whose ciphers a subclass chooses."""

    def cipher_of(self, suite: int) -> CipherSettings:
        """Return the cipher of a suite. Subclasses implement it."""
        raise NotImplementedError

    def _getCipherSettings(self, cipherSuite: int) -> CipherSettings:
        return self.cipher_of(cipherSuite)


class BaseConnection(TLSConnection):  # type: ignore[misc]
    """tlslite-ng's connection, whose record layer and messages a subclass replaces."""

    def __init__(self, connection: socket.socket, record_layer: type[BaseRecordLayer]) -> None:
        super().__init__(connection)
        self.closeSocket = False  # the owner closes it after the peer had time to read the last alert
        self.records = self._recordLayer = record_layer(self.sock)

    def before_send(self, message: Any) -> Undo:
        """Change a message before it is encoded, and return what restores it. Subclasses implement it."""
        raise NotImplementedError

    def after_receive(self, message: Any) -> None:
        """Check and change a message that was decoded. Subclasses implement it."""
        raise NotImplementedError

    def send_alert(self, description: int) -> None:
        """Send a fatal alert, as far as that is possible at once. Raises the library's exceptions."""
        next(self._sendError(description), None)

    def _sendMsg(self, msg: Any, randomizeFirstBlock: bool = True, update_hashes: bool = True) -> Iterator[Any]:
        undo = self.before_send(msg)
        try:
            yield from super()._sendMsg(msg, randomizeFirstBlock, update_hashes)
        finally:
            undo()

    def _getMsg(self, *expected: Any, **options: Any) -> Iterator[Any]:
        for result in super()._getMsg(*expected, **options):
            self.after_receive(result)
            yield result


class PublicRSAKey(RSAKey):  # type: ignore[misc]
    """tlslite-ng's RSA key with the public operation; subclasses add one private operation on the token."""

    def __init__(self, public: rsa.RSAPublicKey) -> None:
        numbers = public.public_numbers()
        self.n, self.e = numbers.n, numbers.e
        self.key_type = "rsa"
        # tlslite-ng derives a secret for implicit rejection from d, which only the token has; it is never used here.
        self._key_hash = bytearray(os.urandom(32))

    def hasPrivateKey(self) -> bool:
        return True

    def acceptsPassword(self) -> bool:
        return False

    def _rawPublicKeyOp(self, ciphertext: int) -> int:
        return pow(ciphertext, self.e, self.n)


__all__ = [
    "ATTRIBUTES",
    "BAD_CERTIFICATE",
    "KEYWORDS",
    "METHODS",
    "X509",
    "AlertDescription",
    "BaseConnection",
    "BaseRecordLayer",
    "BaseTLSException",
    "CipherSettings",
    "ClientHello",
    "HandshakeSettings",
    "PublicRSAKey",
    "RSAKey",
    "RecordLayer",
    "ServerHello",
    "ServerKeyExchange",
    "TLSAbruptCloseError",
    "TLSConnection",
    "TLSLocalAlert",
    "TLSRemoteAlert",
    "X509CertChain",
]
