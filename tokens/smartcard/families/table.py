"""What a family of cards does in its own way: serial numbers, tries, certificates, and the use of a key.

One small class for each, without state; everything that differs between cards of one family is in their profiles.
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
    """The answers that differ. Every method works in a session, on the thread that holds it."""

    def serial(self, session: CardSession, selection: bytes) -> str | None:
        """The card's serial number; None where it tells none. `selection` is what SELECT answered."""

    def retries_left(self, session: CardSession, pin: PinProfile) -> int | None:
        """How many wrong PINs it takes to lock; None where the card does not tell, or holds the PIN for verified."""

    def certificate(self, session: CardSession, key: CardKey) -> x509.Certificate | None:
        """The key's certificate; None where there is none."""

    def public_key(self, session: CardSession, key: CardKey) -> PublicKey | None:
        """The public key as the card itself tells it; None where it does not."""

    def made_on_card(self, session: CardSession, key: CardKey) -> bool | None:
        """Whether the key was generated on the card; None where the card does not tell."""

    def pin_each_time(self, session: CardSession, key: CardKey) -> bool:
        """Whether the PIN must be in the command before each use."""

    def offered(self, key: CardKey, public: PublicKey) -> frozenset[Mechanism]:
        """What the card does with this key, in PKCS#11's terms."""

    def sign(self, session: CardSession, key: CardKey, public: PublicKey, mechanism: Mechanism, data: bytes) -> bytes:
        """The signature over a candidate's input; of an EC key as r and s side by side."""

    def decrypt(self, session: CardSession, key: CardKey, ciphertext: bytes) -> bytes:
        """The plaintext of RSAES-PKCS1-v1_5.

        Raises `CiphertextRejectedError` for what the card says of the ciphertext.
        """


FAMILIES: Mapping[Family, CardFamily] = {
    Family.ISO7816: Iso7816Family(),
    Family.PIV: PivFamily(),
    Family.OPENPGP: OpenPgpFamily(),
}
