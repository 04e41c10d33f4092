"""Cards with the commands of ISO/IEC 7816-4 and -8: MANAGE SECURITY ENVIRONMENT, PERFORM SECURITY OPERATION.

Certificates are files, read with SELECT and READ BINARY; the serial number is tag 5A of EF.GDO if the profile
lists that file.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Mechanism

from tokens.certificates import CertificateUnreadableError, load_certificate
from tokens.errors import CardLostError
from tokens.keys import CiphertextRejectedError
from tokens.smartcard.apdu import tlv
from tokens.smartcard.apdu.commands import (
    Template,
    compute_digital_signature,
    decipher_with_indicator,
    manage_security_environment,
    read_binary,
    select_file,
    verify,
)
from tokens.smartcard.apdu.status import NOT_FOUND, OK, StatusError
from tokens.smartcard.profiles import CardKey, PinProfile
from tokens.smartcard.session import CardSession

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_ACCOUNT_NUMBER = 0x5A
_LONGEST_FILE = 32 * 1024
_CIPHERTEXT_REJECTED = frozenset({0x6A80, 0x6985, 0x6400, 0x6600, 0x6F00})


class Iso7816Family:
    """Satisfies `tokens.smartcard.families.table.CardFamily`."""

    def serial(self, session: CardSession, selection: bytes) -> str | None:
        """Return tag 5A of the file that the profile names."""
        if session.profile.serial_file is None:
            return None
        try:
            content = session.exchange(read_binary(0, session.profile.serial_file))
        except StatusError:
            return None
        number = tlv.find(content, _ACCOUNT_NUMBER)
        return number.hex() if number else None

    def read_retries_left(self, session: CardSession, pin: PinProfile) -> int | None:
        """Return the retry counter from an empty VERIFY."""
        return read_retry_counter(session, pin)

    def read_code_retries(self, session: CardSession) -> int | None:
        """Return None: the card does not report it."""
        return None

    def certificate(self, session: CardSession, key: CardKey) -> x509.Certificate | None:
        """Return the certificate in the file that the profile names."""
        if key.certificate is None:
            return None
        try:
            session.exchange(select_file(key.certificate))
        except StatusError as error:
            if error.status in NOT_FOUND:
                return None
            raise
        return load(_read_file(session))

    def public_key(self, session: CardSession, key: CardKey) -> PublicKey | None:
        """Return None: the public key is in the certificate."""
        return None

    def is_made_on_card(self, session: CardSession, key: CardKey) -> bool | None:
        """Return None: the card does not report it."""
        return None

    def pin_each_time(self, session: CardSession, key: CardKey) -> bool:
        """Return what the profile states."""
        return key.pin_each_time

    def awaits_touch(self, session: CardSession, key: CardKey) -> bool:
        """Return what the profile states: the card does not report it."""
        return key.touch

    def list_mechanisms(self, key: CardKey, public: PublicKey) -> frozenset[Mechanism]:
        """Return the mechanisms of a card that pads by PKCS#1 v1.5 itself; an EC key signs a hash."""
        return mechanisms_with_padding(public)

    def sign(self, session: CardSession, key: CardKey, public: PublicKey, mechanism: Mechanism, data: bytes) -> bytes:
        """Carry out MANAGE SECURITY ENVIRONMENT and COMPUTE DIGITAL SIGNATURE."""
        session.exchange(manage_security_environment(Template.SIGNATURE, _references(0x84, key)))
        return session.exchange(compute_digital_signature(data, signature_length(public)))

    def decrypt(self, session: CardSession, key: CardKey, ciphertext: bytes) -> bytes:
        """Carry out MANAGE SECURITY ENVIRONMENT and DECIPHER."""
        session.exchange(manage_security_environment(Template.CONFIDENTIALITY, _references(0x84, key)))
        return decipher_block(session, ciphertext)


def read_retry_counter(session: CardSession, pin: PinProfile) -> int | None:
    """Return the retry counter from VERIFY without data (ISO/IEC 7816-4:2005, 7.5.6), if the profile allows it."""
    if not pin.reports_retries:
        return None
    try:
        session.exchange(verify(pin.reference, b""))
    except StatusError as error:
        return error.retries_left
    return None


def mechanisms_with_padding(public: PublicKey) -> frozenset[Mechanism]:
    """Return the mechanisms of a card that pads by PKCS#1 v1.5 itself."""
    return frozenset({Mechanism.RSA_PKCS if isinstance(public, rsa.RSAPublicKey) else Mechanism.ECDSA})


def signature_length(public: PublicKey) -> int:
    """Return the length of a signature in bytes: that of the modulus, or of r and s."""
    size = (public.key_size + 7) // 8
    return size if isinstance(public, rsa.RSAPublicKey) else 2 * size


def decipher_block(session: CardSession, ciphertext: bytes) -> bytes:
    """Carry out DECIPHER with the padding indicator 00: the card removes PKCS#1 v1.5."""
    try:
        return session.exchange(decipher_with_indicator(0x00, ciphertext))
    except StatusError as error:
        if error.status in _CIPHERTEXT_REJECTED:
            raise CiphertextRejectedError from None
        raise


def load(der: bytes) -> x509.Certificate:
    """Load a certificate from a card. Raises `CardLostError` if it cannot be read."""
    try:
        return load_certificate(der)
    except CertificateUnreadableError as error:
        raise CardLostError(f"The certificate on the card cannot be used: it {error}.") from error


def _references(tag: int, key: CardKey) -> bytes:
    algorithm = b"" if key.algorithm is None else tlv.encode(0x80, bytes([key.algorithm]))
    return algorithm + tlv.encode(tag, bytes([key.reference]))


def _read_file(session: CardSession) -> bytes:
    content = b""
    while len(content) < _LONGEST_FILE:
        try:
            part = session.exchange(read_binary(len(content)), accept=frozenset({OK, 0x6282}))
        except StatusError as error:
            if content and error.status == 0x6B00:
                break
            raise
        content += part
        if len(part) < 256:
            break
    return tlv.first_object(content)
