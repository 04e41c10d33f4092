"""PIV cards: NIST SP 800-73-4 (interfaces), SP 800-78-4 (algorithms).

GENERAL AUTHENTICATE is the raw operation: RSA of a block that the host has padded, ECDSA of a hash. Certificates are
data objects, gzip-compressed if their CertInfo indicates it; the GUID of its CHUID identifies the card.
"""

from __future__ import annotations

import hmac
import zlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from pkcs11 import Mechanism

from tokens.errors import CardLostError, UnsupportedKeyError
from tokens.keys import CiphertextRejectedError
from tokens.smartcard.apdu import tlv
from tokens.smartcard.apdu.commands import general_authenticate, get_data_by_tag_list
from tokens.smartcard.apdu.status import NOT_FOUND, StatusError
from tokens.smartcard.families.iso7816 import load, read_retry_counter
from tokens.smartcard.profiles import CardKey, KeyUsage, PinProfile
from tokens.smartcard.session import CardSession

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

CHUID = 0x5FC102
"""The Card Holder Unique Identifier (SP 800-73-4, part 1, table 9)."""

_DATA, _CERTIFICATE, _CERT_INFO, _GUID = 0x53, 0x70, 0x71, 0x34
_COMPRESSED = 0x01
_LONGEST_CERTIFICATE = 64 * 1024
_TEMPLATE, _CHALLENGE, _RESPONSE = 0x7C, 0x81, 0x82

_RSA_ALGORITHMS = {1024: 0x06, 2048: 0x07, 3072: 0x05, 4096: 0x16}
_EC_ALGORITHMS = {256: 0x11, 384: 0x14}


class PivFamily:
    """Satisfies `tokens.smartcard.families.table.CardFamily`."""

    def serial(self, session: CardSession, selection: bytes) -> str | None:
        """Return the GUID in the CHUID, unless it is all zeros."""
        guid = tlv.find(_read_object(session, CHUID) or b"", _GUID)
        return guid.hex() if guid and any(guid) else None

    def read_retries_left(self, session: CardSession, pin: PinProfile) -> int | None:
        """Return the retry counter from an empty VERIFY (part 2, 3.2.1)."""
        return read_retry_counter(session, pin)

    def read_code_retries(self, session: CardSession) -> int | None:
        """Return None: the card does not report it."""
        return None

    def certificate(self, session: CardSession, key: CardKey) -> x509.Certificate | None:
        """Return the slot's certificate (part 1, appendix A)."""
        if key.certificate is None:
            return None
        content = _read_object(session, key.certificate)
        stored = tlv.find(content or b"", _CERTIFICATE)
        if content is None or not stored:
            return None
        info = tlv.find(content, _CERT_INFO) or b"\x00"
        return load(_unpack(stored) if info[0] & _COMPRESSED else stored)

    def public_key(self, session: CardSession, key: CardKey) -> PublicKey | None:
        """Return None: the public key is in the certificate."""
        return None

    def is_made_on_card(self, session: CardSession, key: CardKey) -> bool | None:
        """Return None: the card does not report it."""
        return None

    def pin_each_time(self, session: CardSession, key: CardKey) -> bool:
        """Return what the profile states: True for the digital signature key, 9C."""
        return key.pin_each_time

    def awaits_touch(self, session: CardSession, key: CardKey) -> bool:
        """Return what the profile states: the card does not report it."""
        return key.touch

    def list_mechanisms(self, key: CardKey, public: PublicKey) -> frozenset[Mechanism]:
        """Return the raw operations; the host removes the padding of a key that decrypts."""
        algorithm_of(public)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return frozenset({Mechanism.ECDSA})
        return frozenset({Mechanism.RSA_X_509 if key.usage is KeyUsage.SIGN else Mechanism.RSA_PKCS})

    def sign(self, session: CardSession, key: CardKey, public: PublicKey, mechanism: Mechanism, data: bytes) -> bytes:
        """Carry out GENERAL AUTHENTICATE; an EC signature is converted from DER."""
        size = (public.key_size + 7) // 8
        if isinstance(public, rsa.RSAPublicKey):
            return _operate(session, key, public, data, size)
        r, s = decode_dss_signature(_operate(session, key, public, data.rjust(size, b"\x00"), None))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def decrypt(self, session: CardSession, key: CardKey, ciphertext: bytes) -> bytes:
        """Carry out GENERAL AUTHENTICATE, which returns the padded block; the host removes PKCS#1 v1.5."""
        algorithm = _RSA_ALGORITHMS[8 * len(ciphertext)]
        template = _question(ciphertext)
        answer = session.exchange(general_authenticate(algorithm, key.reference, template))
        return remove_padding(_answer(answer, len(ciphertext)))


def algorithm_of(public: PublicKey) -> int:
    """Return the algorithm identifier of a key (SP 800-78-4, table 6-2). Raises `UnsupportedKeyError`."""
    known = _RSA_ALGORITHMS if isinstance(public, rsa.RSAPublicKey) else _EC_ALGORITHMS
    try:
        return known[public.key_size]
    except KeyError as error:
        raise UnsupportedKeyError(f"PIV has no algorithm for a key of {public.key_size} bits.") from error


def remove_padding(block: bytes) -> bytes:
    """Return the message of EME-PKCS1-v1_5 (RFC 8017, 7.2.2).

    Raises `CiphertextRejectedError` after examining every byte.
    """
    separator, seen = 0, 0
    for place in range(2, len(block)):
        here = (block[place] == 0) & (1 - seen)
        separator += place * here
        seen |= here
    good = hmac.compare_digest(block[:2], b"\x00\x02") & (separator >= 10)
    if not good:
        raise CiphertextRejectedError
    return block[separator + 1 :]


def _operate(session: CardSession, key: CardKey, public: PublicKey, data: bytes, expected: int | None) -> bytes:
    command = general_authenticate(algorithm_of(public), key.reference, _question(data))
    return _answer(session.exchange(command), expected)


def _question(data: bytes) -> bytes:
    """Return a template with an empty place for the response (part 2, 3.2.4)."""
    return tlv.encode(_TEMPLATE, tlv.encode(_RESPONSE, b"") + tlv.encode(_CHALLENGE, data))


def _answer(template: bytes, expected: int | None) -> bytes:
    result = tlv.find(template, _TEMPLATE, _RESPONSE)
    if not result or (expected is not None and len(result) != expected):
        raise CardLostError(
            "The card's answer to GENERAL AUTHENTICATE does not have the length of its key, so it is not used."
        )
    return result


def _read_object(session: CardSession, tag: int) -> bytes | None:
    try:
        return tlv.find(session.exchange(get_data_by_tag_list(tag)), _DATA)
    except StatusError as error:
        if error.status in NOT_FOUND:
            return None
        raise


def _unpack(packed: bytes) -> bytes:
    """Decompress gzip (RFC 1952), or the bare zlib stream that some issuers write; the size is bounded."""
    try:
        return zlib.decompressobj(wbits=32 + zlib.MAX_WBITS).decompress(packed, _LONGEST_CERTIFICATE)
    except zlib.error as error:
        raise CardLostError("The compressed certificate on the card is damaged and cannot be decompressed.") from error
