"""OpenPGP cards: Functional Specification of the OpenPGP Application on ISO Smart Card Operating Systems, 3.4.

The signature key signs with COMPUTE DIGITAL SIGNATURE, the authentication key with INTERNAL AUTHENTICATE; both take a
DigestInfo (RSA) or a hash (ECDSA). The card reports the public key itself.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Mechanism

from tokens.errors import UnsupportedKeyError
from tokens.keys import CURVES
from tokens.smartcard.apdu import tlv
from tokens.smartcard.apdu.commands import (
    compute_digital_signature,
    get_data,
    internal_authenticate,
    read_public_key,
)
from tokens.smartcard.apdu.status import NOT_FOUND, StatusError
from tokens.smartcard.families.iso7816 import decipher_block, load, mechanisms_with_padding, signature_length
from tokens.smartcard.profiles import CardKey, PinProfile
from tokens.smartcard.session import CardSession

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_AID, _PW_STATUS, _KEY_INFORMATION = 0x4F, 0xC4, 0xDE
_APPLICATION_DATA, _DISCRETIONARY = 0x6E, 0x73
_PUBLIC_KEY, _MODULUS, _EXPONENT, _POINT = 0x7F49, 0x81, 0x82, 0x86
_ALGORITHM_ATTRIBUTES = {0xB6: 0xC1, 0xB8: 0xC2, 0xA4: 0xC3}
_KEY_NUMBERS = {0xB6: 1, 0xB8: 2, 0xA4: 3}
_USER_INTERACTION = {0xB6: 0xD6, 0xB8: 0xD7, 0xA4: 0xD8}
_CURVE_OF_OID = {
    bytes.fromhex("2a8648ce3d030107"): "secp256r1",
    bytes.fromhex("2b81040022"): "secp384r1",
}
_SIGNATURE_KEY, _AUTHENTICATION_KEY = 0xB6, 0xA4


class OpenPgpFamily:
    """Satisfies `tokens.smartcard.families.table.CardFamily`."""

    def serial(self, session: CardSession, selection: bytes) -> str | None:
        """Return manufacturer and serial number, from the full AID (4.2.1)."""
        aid = tlv.unwrap(session.exchange(get_data(_AID)), _AID)
        return aid[8:14].hex() if len(aid) == 16 else None

    def read_retries_left(self, session: CardSession, pin: PinProfile) -> int | None:
        """Return the retry counter of PW1 from the PW status bytes (4.4.1)."""
        status = _data_object(session, _PW_STATUS)
        return status[4] if len(status) == 7 else None

    def read_code_retries(self, session: CardSession) -> int | None:
        """Return the retry counter of PW3 from the PW status bytes (4.4.1)."""
        status = _data_object(session, _PW_STATUS)
        return status[6] if len(status) == 7 else None

    def certificate(self, session: CardSession, key: CardKey) -> x509.Certificate | None:
        """Return the cardholder certificate, which is the authentication key's (4.4.1, tag 7F21)."""
        if key.certificate is None:
            return None
        try:
            der = session.exchange(get_data(key.certificate))
        except StatusError as error:
            if error.status in NOT_FOUND:
                return None
            raise
        return load(der) if der else None

    def public_key(self, session: CardSession, key: CardKey) -> PublicKey | None:
        """Return the key that GENERATE ASYMMETRIC KEY PAIR reads with P1 = 81 (7.2.14), or None if there is none."""
        try:
            answer = session.exchange(read_public_key(tlv.encode(key.reference, b"")))
        except StatusError as error:
            if error.status in NOT_FOUND or error.status == 0x6985:
                return None
            raise
        modulus, exponent = tlv.find(answer, _PUBLIC_KEY, _MODULUS), tlv.find(answer, _PUBLIC_KEY, _EXPONENT)
        if modulus and exponent:
            return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
        point = tlv.find(answer, _PUBLIC_KEY, _POINT)
        return _on_curve(_curve(session, key), point, key) if point else None

    def is_made_on_card(self, session: CardSession, key: CardKey) -> bool | None:
        """Return whether the key information (4.4.3.8) is 1, generated, or 2, imported; cards before 3.4 have none."""
        try:
            information = _data_object(session, _KEY_INFORMATION)
        except StatusError:
            return None
        number = _KEY_NUMBERS[key.reference]
        states = dict(zip(information[::2], information[1::2], strict=False))
        return {1: True, 2: False}.get(states.get(number, 0))

    def pin_each_time(self, session: CardSession, key: CardKey) -> bool:
        """Return whether PW1 is valid for one signature only: the first PW status byte (4.4.1)."""
        if key.reference != _SIGNATURE_KEY:
            return False
        status = _data_object(session, _PW_STATUS)
        return not status or status[0] == 0

    def awaits_touch(self, session: CardSession, key: CardKey) -> bool:
        """Return whether the user interaction flag (4.4.3.6) is set; a card without one waits for no touch."""
        try:
            flag = _data_object(session, _USER_INTERACTION[key.reference])
        except StatusError:
            return key.touch
        return key.touch or flag[:1] not in (b"", b"\0")

    def list_mechanisms(self, key: CardKey, public: PublicKey) -> frozenset[Mechanism]:
        """Return the mechanisms of a card that pads by PKCS#1 v1.5 itself; an EC key signs a hash."""
        return mechanisms_with_padding(public)

    def sign(self, session: CardSession, key: CardKey, public: PublicKey, mechanism: Mechanism, data: bytes) -> bytes:
        """Carry out COMPUTE DIGITAL SIGNATURE (7.2.10) or INTERNAL AUTHENTICATE (7.2.13)."""
        expected = signature_length(public)
        if key.reference == _AUTHENTICATION_KEY:
            return session.exchange(internal_authenticate(0x00, data, expected=expected))
        return session.exchange(compute_digital_signature(data, expected))

    def decrypt(self, session: CardSession, key: CardKey, ciphertext: bytes) -> bytes:
        """Carry out DECIPHER (7.2.11)."""
        return decipher_block(session, ciphertext)


def _data_object(session: CardSession, tag: int) -> bytes:
    """Return a data object, read directly or from the discretionary part of the application's data (4.4.1)."""
    try:
        return tlv.unwrap(session.exchange(get_data(tag)), tag)
    except StatusError as error:
        if error.status not in NOT_FOUND:
            raise
    whole = session.exchange(get_data(_APPLICATION_DATA))
    return tlv.find(whole, _APPLICATION_DATA, _DISCRETIONARY, tag) or tlv.find(whole, _DISCRETIONARY, tag) or b""


def _on_curve(curve: ec.EllipticCurve, point: bytes, key: CardKey) -> PublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError as error:
        raise UnsupportedKeyError(
            f"Key {key.name} on the card is not on the curve {curve.name} that it names."
        ) from error


def _curve(session: CardSession, key: CardKey) -> ec.EllipticCurve:
    attributes = _data_object(session, _ALGORITHM_ATTRIBUTES[key.reference])
    name = _CURVE_OF_OID.get(attributes[1:].removesuffix(b"\xff"))
    if name is None:
        raise UnsupportedKeyError(f"Key {key.name} on the card is on a curve other than P-256 and P-384.")
    return CURVES[name]()
