"""tlslite-ng's TLS connection, restricted to one retired profile by subclasses; the library itself is unchanged.

tlslite-ng has no single DES. For `des-tls` and `dhe-des` the library negotiates 3DES, and the connection exchanges the
numbers of DES and 3DES in sent and received messages, so that both ends hash what was on the wire; the record layer
then uses DES. 3DES itself cannot be negotiated in such a connection.
"""

from __future__ import annotations

import socket
from typing import Any

from hsm_dicom.tls.errors import LegacyRefusedError
from hsm_dicom.tls.legacy._tlslite import (
    BaseConnection,
    BaseRecordLayer,
    CipherSettings,
    ClientHello,
    HandshakeSettings,
    ServerHello,
    ServerKeyExchange,
    Undo,
)
from hsm_dicom.tls.legacy.ciphers import aes, single_des, triple_des
from hsm_dicom.tls.legacy.groups import GROUPS
from hsm_dicom.tls.legacy.profiles import KeyExchange, LegacyProfile

_AES_128 = frozenset((0x002F, 0x0033))
_AES_256 = frozenset((0x0039,))
_DES_OF_3DES = {0x000A: 0x0009, 0x0016: 0x0015}
"""Suites with 3DES, and the corresponding suites with DES: TLS_RSA and TLS_DHE_RSA."""
_3DES_OF_DES = {des: triple for triple, des in _DES_OF_3DES.items()}
_NOBODYS = 0xFEFE
"""A number without a suite (RFC 8701 reserves others for this). It replaces suites that must not be chosen."""

_EXCHANGES = {KeyExchange.RSA: "rsa", KeyExchange.DHE_RSA: "dhe_rsa"}
_NAMED_GROUPS = {"ffdhe2048": 2048, "ffdhe3072": 3072, "ffdhe4096": 4096}
"""Groups of RFC 7919, the smallest first."""
_LARGEST_GROUP = 8192
"""Bits of a peer's largest accepted Diffie-Hellman group: a larger one costs seconds."""


def handshake_settings(
    profile: LegacyProfile, minimum_rsa_bits: int, dh_bits: int, *, server_side: bool
) -> HandshakeSettings:
    """Make tlslite-ng's settings for a profile: its versions, ciphers and key exchange, with SHA-1 as the MAC.

    `minimum_rsa_bits` is the size of the smallest supported key; `hsm_dicom.trust` decides which keys are accepted.
    `dh_bits` is the size of the group that a server offers.
    """
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = profile.minimum_version, profile.maximum_version
    settings.cipherNames = [_cipher_name(suite.code) for suite in profile.suites]
    settings.keyExchangeNames = [_EXCHANGES[profile.key_exchange]]
    settings.dhParams = GROUPS[dh_bits]
    # A server must give a client that lists groups of RFC 7919 one of these, or no Diffie-Hellman (RFC 7919, 4).
    # Our client lists none, like clients before RFC 7919, and accepts the server's group within its bounds.
    settings.dhGroups = [name for name, bits in _NAMED_GROUPS.items() if server_side and bits >= dh_bits]
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


def _cipher_name(code: int) -> str:
    """Return tlslite-ng's name of a suite's cipher; it treats DES as 3DES."""
    if code in _AES_128 or code in _AES_256:
        return "aes128" if code in _AES_128 else "aes256"
    return "3des"


class LegacyRecordLayer(BaseRecordLayer):
    """A record layer with only the ciphers of the retired profiles."""

    single_des = False

    def cipher_of(self, suite: int) -> CipherSettings:
        """Return the cipher of a retired profile's suite."""
        if suite in _AES_128:
            return 16, 16, aes
        if suite in _AES_256:
            return 32, 16, aes
        if suite in _DES_OF_3DES:
            return (8, 8, single_des) if self.single_des else (24, 8, triple_des)
        raise AssertionError("a suite that no retired profile has")


class LegacyConnection(BaseConnection):
    """One connection under a retired profile."""

    def __init__(self, connection: socket.socket, profile: LegacyProfile, dh_bits: int) -> None:
        super().__init__(connection, LegacyRecordLayer)
        self.dh_bits: int | None = None
        """The size of the Diffie-Hellman group in use; None with RSA key exchange."""
        self._smallest_group = dh_bits
        self._single_des = any(suite.code in _3DES_OF_DES for suite in profile.suites)
        self.records.single_des = self._single_des

    @property
    def suite_code(self) -> int:
        """The number of the suite that is in use."""
        code = int(self.session.cipherSuite)
        return _DES_OF_3DES.get(code, code) if self._single_des else code

    def before_send(self, message: Any) -> Undo:
        """Put the number of DES into a hello message, and record the size of the group that a server offers."""
        if isinstance(message, ServerKeyExchange):
            self.dh_bits = message.dh_p.bit_length()
        return self._exchange(message, _DES_OF_3DES)

    def after_receive(self, message: Any) -> None:
        """Put the number of 3DES into a hello message, and check the group that a server chose."""
        self._exchange(message, _3DES_OF_DES | dict.fromkeys(_DES_OF_3DES, _NOBODYS))
        if isinstance(message, ServerKeyExchange):
            self._check_group(message.dh_p.bit_length())

    def _check_group(self, bits: int) -> None:
        """Check the size of the server's group against its bounds. Raises `LegacyRefusedError`."""
        if not self._smallest_group <= bits <= _LARGEST_GROUP:
            raise LegacyRefusedError(
                f"the peer's Diffie-Hellman group has {bits} bits, and from {self._smallest_group} to {_LARGEST_GROUP} "
                "are accepted (dh_bits of the peer's legacy table; 1024 at least)."
            )
        self.dh_bits = bits

    def _exchange(self, message: Any, numbers: dict[int, int]) -> Undo:
        """Exchange suite numbers in a hello message of a DES connection; return a function that undoes it."""
        if not self._single_des or not isinstance(message, ClientHello | ServerHello):
            return lambda: None
        name = "cipher_suites" if isinstance(message, ClientHello) else "cipher_suite"
        before = getattr(message, name)
        exchanged = (
            [numbers.get(code, code) for code in before] if isinstance(before, list) else numbers.get(before, before)
        )
        setattr(message, name, exchanged)
        return lambda: setattr(message, name, before)
