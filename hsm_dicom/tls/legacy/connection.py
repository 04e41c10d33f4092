"""tlslite-ng's TLS connection, held to one retired profile. Extended by subclass: nothing of the library is changed.

tlslite-ng has no single DES. For `des-tls` the connection lets the library think of 3DES, and puts the number of DES in
its place where a message goes out or comes in, so that both ends hash what was on the wire; the record layer then uses
DES. 3DES itself cannot come about in such a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

from tlslite.handshakesettings import HandshakeSettings  # type: ignore[import-untyped]
from tlslite.messages import ClientHello, ServerHello  # type: ignore[import-untyped]
from tlslite.recordlayer import RecordLayer  # type: ignore[import-untyped]
from tlslite.tlsconnection import TLSConnection  # type: ignore[import-untyped]

from hsm_dicom.tls.legacy.ciphers import aes128, single_des, triple_des
from hsm_dicom.tls.legacy.profiles import LegacyProfile

AES_128, TRIPLE_DES, SINGLE_DES = 0x002F, 0x000A, 0x0009
_NOBODYS = 0xFEFE
"""A number that no suite has (RFC 8701 reserves others for this): stands for what must not be chosen."""

_NAMES = {AES_128: "aes128", TRIPLE_DES: "3des", SINGLE_DES: "3des"}


def handshake_settings(profile: LegacyProfile, minimum_rsa_bits: int) -> HandshakeSettings:
    """tlslite-ng's settings for a profile: its versions and suites, RSA key exchange, SHA-1 as the MAC, nothing else.

    `minimum_rsa_bits` bounds the keys that are worked with at all; which are good enough, trust decides.
    """
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = profile.minimum_version, profile.maximum_version
    settings.cipherNames = [_NAMES[suite.code] for suite in profile.suites]
    settings.keyExchangeNames = ["rsa"]
    settings.macNames = ["sha"]
    settings.rsaSchemes = ["pkcs1"]
    settings.more_sig_schemes = []
    settings.minKeySize = minimum_rsa_bits
    settings.maxKeySize = 16384
    settings.certificateTypes = ["x509"]
    settings.use_heartbeat_extension = False
    settings.certificate_compression_send = []
    settings.certificate_compression_receive = []
    settings.ticketKeys = []
    settings.ticket_count = 0
    settings.pskConfigs = []
    settings.useEncryptThenMAC = True
    settings.useExtendedMasterSecret = True
    return settings


class LegacyRecordLayer(RecordLayer):  # type: ignore[misc]
    """A record layer with the three ciphers, and no others."""

    single_des = False

    def _getCipherSettings(self, cipherSuite: int) -> tuple[int, int, Callable[..., Any]]:
        if cipherSuite == AES_128:
            return 16, 16, aes128
        if cipherSuite == TRIPLE_DES and self.single_des:
            return 8, 8, single_des
        if cipherSuite == TRIPLE_DES:
            return 24, 8, triple_des
        raise AssertionError("a suite that no retired profile has")


class LegacyConnection(TLSConnection):  # type: ignore[misc]
    """One connection under a retired profile."""

    def __init__(self, connection: socket.socket, profile: LegacyProfile) -> None:
        super().__init__(connection)
        self.closeSocket = False  # whoever owns it closes it, after the peer could read the last alert
        self._recordLayer = LegacyRecordLayer(self.sock)
        self._single_des = any(suite.code == SINGLE_DES for suite in profile.suites)
        self._recordLayer.single_des = self._single_des

    @property
    def suite_code(self) -> int:
        """The number of the suite that is in use."""
        code = int(self.session.cipherSuite)
        return SINGLE_DES if self._single_des and code == TRIPLE_DES else code

    def _sendMsg(self, msg: Any, randomizeFirstBlock: bool = True, update_hashes: bool = True) -> Iterator[Any]:
        ours = self._exchange(msg, {TRIPLE_DES: SINGLE_DES})
        try:
            yield from super()._sendMsg(msg, randomizeFirstBlock, update_hashes)
        finally:
            ours()

    def _getMsg(self, *expected: Any, **options: Any) -> Iterator[Any]:
        for result in super()._getMsg(*expected, **options):
            self._exchange(result, {SINGLE_DES: TRIPLE_DES, TRIPLE_DES: _NOBODYS})
            yield result

    def _exchange(self, message: Any, numbers: dict[int, int]) -> Callable[[], None]:
        """Exchange suite numbers in a hello message of a DES connection; what is returned undoes it."""
        if not self._single_des or not isinstance(message, ClientHello | ServerHello):
            return lambda: None
        name = "cipher_suites" if isinstance(message, ClientHello) else "cipher_suite"
        before = getattr(message, name)
        exchanged = (
            [numbers.get(code, code) for code in before] if isinstance(before, list) else numbers.get(before, before)
        )
        setattr(message, name, exchanged)
        return lambda: setattr(message, name, before)
