"""A card for authentication, codes and signatures, as ISO/IEC 7816-4 and -8 describe them.

| what                      | where                                                                                 |
|---------------------------|---------------------------------------------------------------------------------------|
| PIN                       | VERIFY 01, padded with FF to 8 bytes; needed for every key                            |
| authentication keys 1..8  | INTERNAL and EXTERNAL AUTHENTICATE, P2 = 81..88                                       |
| data keys 1..8            | MSE SET CCT or CT with 83 = 91..98 (and 87 = IV), then PSO: code 8E80, ciphers        |
| signature key             | MSE SET DST with 84 = 21, then PSO 9E9A over a DigestInfo                             |
| EF.GDO, SFI 2             | 5A: the card's serial number                                                          |
| EF C001                   | the certificate of the signature key, at most 32 kB                                   |
"""

from __future__ import annotations

import datetime
import hmac
import os

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cards.iso7816 import Command, Iso7816Card, PinObject, Refusal, atr, read_tlvs, tlv

AID = bytes.fromhex("f048534d0001")
SIGNATURE_KEY = 0x21
_GDO, _CERTIFICATE = 0x2F02, 0xC001


def des(key: bytes) -> TripleDES:
    """Single, two-key or three-key DES, by the key's length in bytes."""
    return TripleDES({8: key * 3, 16: key + key[:8], 24: key}[len(key)])


class AuthenticationCard(Iso7816Card):
    """The card. `keys` are DES keys by key reference."""

    atr = atr(b"HSM TEST AUTH")
    aids = (AID,)

    def __init__(self, serial: str, pin: bytes, keys: dict[int, bytes], *, extended: bool, needs_pin: bool) -> None:
        super().__init__(extended=extended)
        self.keys = keys
        self.needs_pin = needs_pin
        self.pins[0x01] = PinObject(pin.ljust(8, b"\xff"))
        self.files = {_GDO: tlv(0x5A, bytes.fromhex(serial))}
        self._private: rsa.RSAPrivateKey | None = None
        self._challenge: bytes | None = None
        self._environment: dict[int, dict[int, bytes]] = {}
        self._file = b""
        self.handlers |= {
            0x20: self.verify,
            0x22: self.manage_security_environment,
            0x2A: self.perform_security_operation,
            0x82: self.external_authenticate,
            0x84: self.get_challenge,
            0x88: self.internal_authenticate,
            0xB0: self.read_binary,
        }

    def clear_security_status(self) -> None:
        """The environment and a challenge go with the PIN's status."""
        super().clear_security_status()
        self._challenge = None
        self._environment = {}

    def selection(self) -> bytes:
        """The application's template with its AID."""
        return tlv(0x6F, tlv(0x84, AID))

    def select(self, command: Command) -> bytes:
        """The application by AID, or a file in it by its identifier."""
        if command.p1 != 0x02:
            return super().select(command)
        identifier = int.from_bytes(command.data, "big")
        if identifier == _CERTIFICATE:
            self.files.setdefault(_CERTIFICATE, self._certificate())
        if not self.selected or identifier not in self.files:
            raise Refusal(0x6A82)
        self._file = self.files[identifier]
        return b""

    def read_binary(self, command: Command) -> bytes:
        """By short identifier, or what was selected."""
        if command.p1 & 0x80:
            if command.p1 != 0x82:
                raise Refusal(0x6A82)
            self._file, offset = self.files[_GDO], command.p2
        else:
            offset = command.p1 << 8 | command.p2
        if offset >= len(self._file):
            raise Refusal(0x6B00)
        return self._file[offset : offset + command.le]

    def get_challenge(self, command: Command) -> bytes:
        """For the next command only."""
        self._challenge = os.urandom(command.le)
        return self._challenge

    def internal_authenticate(self, command: Command) -> bytes:
        """Encrypt the other party's challenge."""
        key = self._key(command.p2)
        if len(command.data) != 8:
            raise Refusal(0x6700)
        return self._ecb(key, command.data)

    def external_authenticate(self, command: Command) -> bytes:
        """Judge the answer to the challenge of the command before this one."""
        challenge, self._challenge = self._challenge, None
        key = self._key(command.p2)
        if challenge is None or self.previous != 0x84:
            raise Refusal(0x6985)
        if not hmac.compare_digest(command.data, self._ecb(key, challenge)):
            raise Refusal(0x6300)
        return b""

    def manage_security_environment(self, command: Command) -> bytes:
        """SET one control reference template."""
        if command.p1 & 0x0F != 1 or command.p2 not in (0xB4, 0xB6, 0xB8):
            raise Refusal(0x6A86)
        reference = read_tlvs(command.data)
        named = reference.get(0x83) or reference.get(0x84) or b""
        known = bytes([SIGNATURE_KEY]) if command.p2 == 0xB6 else bytes(self.keys)
        if len(named) != 1 or named not in [bytes([k]) for k in known]:
            raise Refusal(0x6A88)
        self._environment[command.p2] = reference
        return b""

    def perform_security_operation(self, command: Command) -> bytes:
        """Signature, code, encipher, decipher."""
        operation = command.p1 << 8 | command.p2
        if operation == 0x9E9A:
            self._environment_of(0xB6)
            return self._sign(command.data)
        if operation == 0x8E80:
            return self._cbc(0xB4, command.data, encrypting=True)[-8:]
        if operation == 0x8480:
            return self._cbc(0xB8, command.data, encrypting=True)
        if operation == 0x8084:
            return self._cbc(0xB8, command.data, encrypting=False)
        raise Refusal(0x6A86)

    def _key(self, reference: int) -> bytes:
        if reference not in self.keys:
            raise Refusal(0x6A88)
        self._require_pin()
        return self.keys[reference]

    def _require_pin(self) -> None:
        if self.needs_pin and not self.pins[0x01].verified:
            raise Refusal(0x6982)

    def _environment_of(self, template: int) -> dict[int, bytes]:
        self._require_pin()
        if template not in self._environment:
            raise Refusal(0x6985)
        return self._environment[template]

    def _cbc(self, template: int, data: bytes, *, encrypting: bool) -> bytes:
        reference = self._environment_of(template)
        if not data or len(data) % 8:
            raise Refusal(0x6A80)
        cipher = Cipher(des(self.keys[reference[0x83][0]]), modes.CBC(reference.get(0x87, bytes(8))))
        context = cipher.encryptor() if encrypting else cipher.decryptor()
        return context.update(data) + context.finalize()

    def _ecb(self, key: bytes, block: bytes) -> bytes:
        context = Cipher(des(key), modes.ECB()).encryptor()
        return context.update(block) + context.finalize()

    def _sign(self, digest_info: bytes) -> bytes:
        numbers = self._rsa().private_numbers()
        size = (numbers.public_numbers.n.bit_length() + 7) // 8
        if len(digest_info) > size * 4 // 10:
            raise Refusal(0x6700)
        block = b"\x00\x01" + b"\xff" * (size - 3 - len(digest_info)) + b"\x00" + digest_info
        return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")

    def _rsa(self) -> rsa.RSAPrivateKey:
        self._private = self._private or rsa.generate_private_key(65537, 2048)
        return self._private

    def _certificate(self) -> bytes:
        return self_signed(self._rsa(), "Test card for authentication")


def self_signed(key: rsa.RSAPrivateKey, name: str) -> bytes:
    """A certificate to find the public key in."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
