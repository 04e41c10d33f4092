"""Differences between families of cards: serial number, retry counter, certificates, and the use of a key.

Each family is a small class without state; the differences between cards of one family are in their profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Mechanism

from tokens.smartcard.families.iso7816 import Iso7816Family
from tokens.smartcard.families.openpgp import OpenPgpFamily
from tokens.smartcard.families.piv import PivFamily
from tokens.smartcard.profiles import CardKey, Family, PinProfile
from tokens.smartcard.session import CardSession

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class CardFamily(Protocol):
    """The commands of one family. Every method works in a session, on the session's thread."""

    def serial(self, session: CardSession, selection: bytes) -> str | None:
        """Return the card's serial number, or None if it reports none. `selection` is the answer to SELECT."""

    def read_retries_left(self, session: CardSession, pin: PinProfile) -> int | None:
        """Return the retry counter, or None if the card does not report it or considers the PIN verified."""

    def read_code_retries(self, session: CardSession) -> int | None:
        """Return the retry counter of the PUK or admin PIN, or None if the card does not report it."""

    def certificate(self, session: CardSession, key: CardKey) -> x509.Certificate | None:
        """Return the key's certificate, or None if there is none."""

    def public_key(self, session: CardSession, key: CardKey) -> PublicKey | None:
        """Return the public key that the card reports, or None if it does not."""

    def is_made_on_card(self, session: CardSession, key: CardKey) -> bool | None:
        """Return whether the key was generated on the card, or None if the card does not report it."""

    def pin_each_time(self, session: CardSession, key: CardKey) -> bool:
        """Return whether the PIN must be presented before each use."""

    def awaits_touch(self, session: CardSession, key: CardKey) -> bool:
        """Return whether the card waits for a touch during each use."""

    def list_mechanisms(self, key: CardKey, public: PublicKey) -> frozenset[Mechanism]:
        """Return the operations of the card with this key, as PKCS#11 mechanisms."""

    def sign(self, session: CardSession, key: CardKey, public: PublicKey, mechanism: Mechanism, data: bytes) -> bytes:
        """Return the signature over a candidate's input; r ‖ s for an EC key."""

    def decrypt(self, session: CardSession, key: CardKey, ciphertext: bytes) -> bytes:
        """Return the plaintext of RSAES-PKCS1-v1_5.

        Raises `CiphertextRejectedError` for every answer about the ciphertext.
        """


FAMILIES: Mapping[Family, CardFamily] = {
    Family.ISO7816: Iso7816Family(),
    Family.PIV: PivFamily(),
    Family.OPENPGP: OpenPgpFamily(),
}
