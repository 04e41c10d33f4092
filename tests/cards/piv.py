"""A PIV card: NIST SP 800-73-4, part 2, with the keys and certificates of slots 9A, 9C, 9D and 9E.

| slot | key      | PIN                                        | certificate             |
|------|----------|--------------------------------------------|-------------------------|
| 9A   | P-256    | once                                       | 5FC105                  |
| 9C   | RSA 2048 | in the command before each use             | 5FC10A, gzip-compressed |
| 9D   | RSA 2048 | once                                       | 5FC10B                  |
| 9E   | P-384    | none                                       | 5FC101                  |
"""

from __future__ import annotations

import datetime
import gzip
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cards.iso7816 import Command, Iso7816Card, PinObject, Refusal, atr, read_tlvs, tlv

AID = bytes.fromhex("a000000308000010000100")
_CHUID = 0x5FC102
_CERTIFICATES = {0x9A: 0x5FC105, 0x9C: 0x5FC10A, 0x9D: 0x5FC10B, 0x9E: 0x5FC101}
_RSA_2048, _P_256, _P_384 = 0x07, 0x11, 0x14

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PivCard(Iso7816Card):
    """The card. `serial` is the card's GUID in its CHUID, 32 hexadecimal digits."""

    atr = atr(b"HSM TEST PIV")
    aids = (AID,)

    def __init__(
        self, serial: str, pin: bytes, *, extended: bool, slots: str = "9a9c9d9e", puk: str = "12345678"
    ) -> None:
        super().__init__(extended=extended)
        self.puk = PinObject(puk.encode().ljust(8, b"\xff"))
        self.pins[0x80] = PinObject(pin.ljust(8, b"\xff"))
        self.keys: dict[int, tuple[int, Key]] = {}
        self.objects = {_CHUID: tlv(0x34, bytes.fromhex(serial)) + tlv(0x35, b"20991231") + tlv(0xFE, b"")}
        for slot in bytes.fromhex(slots):
            self._personalise(slot)
        self.handlers |= {0x20: self.verify, 0x2C: self.reset_retry_counter}
        self.handlers |= {0x87: self.general_authenticate, 0xCB: self.get_data}

    def selection(self) -> bytes:
        """The application property template (part 2, 3.1.1)."""
        return tlv(0x61, tlv(0x4F, AID[5:]) + tlv(0x79, tlv(0x4F, AID[:5])))

    def get_data(self, command: Command) -> bytes:
        """GET DATA with a tag list (part 2, 3.1.2)."""
        if (command.p1, command.p2) != (0x3F, 0xFF):
            raise Refusal(0x6A86)
        tag = int.from_bytes(read_tlvs(command.data).get(0x5C, b""), "big")
        if tag not in self.objects:
            raise Refusal(0x6A82)
        return tlv(0x53, self.objects[tag])

    def reset_retry_counter(self, command: Command) -> bytes:
        """RESET RETRY COUNTER with the PUK and the new PIN, eight bytes each (part 2, 3.2.3)."""
        if (command.p1, command.p2) != (0x00, 0x80):
            raise Refusal(0x6A88)
        if len(command.data) != 16 or not command.data[8:14].isdigit():
            raise Refusal(0x6A80)
        self.puk.present(command.data[:8])
        self.pins[0x80] = PinObject(command.data[8:])
        return b""

    def general_authenticate(self, command: Command) -> bytes:
        """Sign, or undo RSA, with the key in a slot (part 2, 3.2.4)."""
        if command.p2 not in self.keys:
            raise Refusal(0x6A88)
        algorithm, key = self.keys[command.p2]
        if command.p1 != algorithm:
            raise Refusal(0x6A86)
        if command.p2 != 0x9E and not self.pins[0x80].verified:
            raise Refusal(0x6982)
        if command.p2 == 0x9C and self.previous != 0x20:
            raise Refusal(0x6982)
        template = read_tlvs(read_tlvs(command.data).get(0x7C, b""))
        if template.get(0x82) != b"" or 0x81 not in template:
            raise Refusal(0x6A80)
        return tlv(0x7C, tlv(0x82, self._use(key, template[0x81])))

    def _use(self, key: Key, data: bytes) -> bytes:
        if isinstance(key, rsa.RSAPrivateKey):
            if len(data) != 256:
                raise Refusal(0x6A80)
            numbers = key.private_numbers()
            result = pow(int.from_bytes(data, "big"), numbers.d, numbers.public_numbers.n)
            return result.to_bytes(256, "big")
        digest = {32: hashes.SHA256(), 48: hashes.SHA384()}.get(len(data))
        if digest is None or len(data) != (key.key_size + 7) // 8:
            raise Refusal(0x6A80)
        return key.sign(data, ec.ECDSA(Prehashed(digest)))

    def _personalise(self, slot: int) -> None:
        key: Key
        if slot == 0x9A:
            algorithm, key = _P_256, ec.generate_private_key(ec.SECP256R1())
        elif slot == 0x9E:
            algorithm, key = _P_384, ec.generate_private_key(ec.SECP384R1())
        else:
            algorithm, key = _RSA_2048, rsa.generate_private_key(65537, 2048)
        self.keys[slot] = algorithm, key
        certificate, info = _certificate(key, f"PIV {slot:02X}"), 0x00
        if slot == 0x9C:
            certificate, info = gzip.compress(certificate), 0x01
        self.objects[_CERTIFICATES[slot]] = tlv(0x70, certificate) + tlv(0x71, bytes([info])) + tlv(0xFE, b"")


def _certificate(key: Key, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    # Longer than 256 bytes in every case, so that reading it takes GET RESPONSE on a short-only card.
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), os.urandom(300))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(padding, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
