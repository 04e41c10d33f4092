"""Card profiles: descriptions of kinds of cards, as data, so that a hospital can add its own.

A profile contains the application, its PINs, the keys and their usage, and the places of certificates and the serial
number. It belongs to one of three families, whose commands differ: `iso7816` (MANAGE SECURITY ENVIRONMENT and PERFORM
SECURITY OPERATION), `piv` (GENERAL AUTHENTICATE) and `openpgp`.

Shipped:

| profile   | card                               | keys                                                               |
|-----------|------------------------------------|--------------------------------------------------------------------|
| `piv`     | NIST SP 800-73-4 and -5            | 9a, 9c (PIN for each signature), 9d, 9e (no PIN)                   |
| `openpgp` | OpenPGP Smart Card Application 3.4 | sign, decrypt, auth                                                |
| `iso7816` | authentication by ISO/IEC 7816-4   | authentication keys 1 to 8 (references 81 to 88), encryption keys  |
|           | and MACs by 7816-8 only            | 1 to 8 (91 to 98); PIN 01, padded with FF to 8 bytes               |

`tokens.smartcard.profile_table` reads one from a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokens.deadlines import CallDeadlines
from tokens.errors import UriError

_STRICT = {"extra": "forbid"}
"""Configuration for pydantic, with which `tokens.smartcard.profile_table` validates a table."""


class Family(StrEnum):
    """The families of cards, by their commands."""

    ISO7816 = "iso7816"
    PIV = "piv"
    OPENPGP = "openpgp"


class KeyUsage(StrEnum):
    """The use of a key on a card."""

    SIGN = "sign"
    DECRYPT = "decrypt"


@dataclass(frozen=True, kw_only=True)
class PinProfile:
    """A PIN on the card: its reference (P2 of VERIFY), its length in bytes, and its padding."""

    __pydantic_config__ = _STRICT

    reference: int
    """The PIN reference, P2 of VERIFY."""
    minimum: int = 4
    """The shortest PIN, in bytes."""
    maximum: int = 8
    """The longest PIN, in bytes."""
    padding: int | None = 0xFF
    """The byte that pads a PIN to `maximum`; None to send it without padding."""
    limit: int = 3
    """The retry counter after a correct PIN. A lower one means that a wrong PIN was presented since."""
    reports_retries: bool = False
    """Whether VERIFY without a PIN reports the retry counter. Some cards count it as a wrong PIN (vicc 3.3 does), so
    it is sent only where the card's manual promises an answer."""

    def pad(self, pin: bytearray) -> bytearray:
        """Return the data field of VERIFY, which the caller wipes."""
        if self.padding is None:
            return bytearray(pin)
        return bytearray(pin) + bytearray([self.padding]) * (self.maximum - len(pin))


@dataclass(frozen=True, kw_only=True)
class CardKey:
    """A private key on the card."""

    __pydantic_config__ = _STRICT

    name: str
    """The value of `key=` in a card: URI."""
    reference: int
    """The card's reference of the key."""
    usage: KeyUsage = KeyUsage.SIGN
    """Whether the key signs or decrypts."""
    pin: PinProfile | None = None
    """The PIN that the key requires; None if it requires none."""
    pin_each_time: bool = False
    """Whether the PIN must be presented directly before each use."""
    touch: bool = False
    """Whether the card waits for a touch during each use. An OpenPGP card reports it itself."""
    certificate: int | None = None
    """The data object (piv, openpgp) or file identifier (iso7816) of its certificate."""
    algorithm: int | None = None
    """iso7816: the algorithm reference for MANAGE SECURITY ENVIRONMENT (tag 80); not sent if None."""


@dataclass(frozen=True, kw_only=True)
class SecretsProfile:
    """The secret keys for authentication and MACs: key references by index."""

    __pydantic_config__ = _STRICT

    authentication: Mapping[int, int]
    """INTERNAL and EXTERNAL AUTHENTICATE: P2 by index."""
    encryption: Mapping[int, int]
    """MACs and encryption: tag 83 of MANAGE SECURITY ENVIRONMENT by index."""
    algorithm: int = 0x00
    """P1 of INTERNAL and EXTERNAL AUTHENTICATE; 00 if the key implies it."""
    pin: PinProfile | None = None
    """The PIN that the keys require; None if they require none."""
    longest: int = 4096
    """The most bytes that are sent to the card in one command. A card is too slow for bulk data."""


@dataclass(frozen=True, kw_only=True)
class CardProfile:
    """A kind of card."""

    __pydantic_config__ = _STRICT

    name: str
    family: Family
    """The family whose commands the card supports."""
    aid: bytes | None
    """The application to select; None for a card without applications."""
    keys: tuple[CardKey, ...] = ()
    """The private keys."""
    secrets: SecretsProfile | None = None
    """The secret keys for ISO/IEC 7816-4 authentication."""
    serial_file: int | None = None
    """iso7816: short identifier of the file in which tag 5A is the card's serial number (EF.GDO)."""
    extended: bool = True
    """Whether the card accepts extended APDUs, of more than 255 bytes; otherwise short ones are chained."""
    timeout: float = 10.0
    """Seconds for one command without `deadlines`. Some cards need two for RSA with 4096 bits."""
    deadlines: CallDeadlines | None = None
    """Seconds for commands by kind; `generate` is not used."""

    def list_deadlines(self) -> CallDeadlines:
        """Return the seconds for commands by kind."""
        if self.deadlines is not None:
            return self.deadlines
        return CallDeadlines(session=self.timeout, sign=self.timeout, login=self.timeout)

    def key(self, name: str | None) -> CardKey | None:
        """Return the key of that name, or the only one if no name is given; None if there is no such key."""
        if name is None:
            return self.keys[0] if len(self.keys) == 1 else None
        return next((key for key in self.keys if key.name == name.lower()), None)


_PIV_PIN = PinProfile(reference=0x80, minimum=6, reports_retries=True)
_PW1_SIGN = PinProfile(reference=0x81, minimum=6, maximum=127, padding=None)
_PW1 = PinProfile(reference=0x82, minimum=6, maximum=127, padding=None)
_PIN_01 = PinProfile(reference=0x01)

PIV = CardProfile(
    name="piv",
    family=Family.PIV,
    aid=bytes.fromhex("a000000308000010000100"),
    keys=(
        CardKey(name="9a", reference=0x9A, pin=_PIV_PIN, certificate=0x5FC105),
        CardKey(name="9c", reference=0x9C, pin=_PIV_PIN, pin_each_time=True, certificate=0x5FC10A),
        CardKey(name="9d", reference=0x9D, pin=_PIV_PIN, usage=KeyUsage.DECRYPT, certificate=0x5FC10B),
        CardKey(name="9e", reference=0x9E, certificate=0x5FC101),
    ),
    # SP 800-73-4, part 2, 3.1.2: every contact interface supports short APDUs with chaining.
    extended=False,
)

OPENPGP = CardProfile(
    name="openpgp",
    family=Family.OPENPGP,
    aid=bytes.fromhex("d27600012401"),
    keys=(
        CardKey(name="sign", reference=0xB6, pin=_PW1_SIGN),
        CardKey(name="decrypt", reference=0xB8, pin=_PW1, usage=KeyUsage.DECRYPT),
        CardKey(name="auth", reference=0xA4, pin=_PW1, certificate=0x7F21),
    ),
)

ISO7816 = CardProfile(
    name="iso7816",
    family=Family.ISO7816,
    aid=None,
    secrets=SecretsProfile(
        authentication={index: 0x80 | index for index in range(1, 9)},
        encryption={index: 0x90 | index for index in range(1, 9)},
        pin=_PIN_01,
    ),
)

SHIPPED: Mapping[str, CardProfile] = {profile.name: profile for profile in (PIV, OPENPGP, ISO7816)}
"""The shipped profiles, by the name in a card: URI."""


def find_profile(name: str, added: Mapping[str, CardProfile]) -> CardProfile:
    """Return a profile that the caller added, or a shipped one. Raises `UriError`, which lists all of them."""
    profile = added.get(name) or SHIPPED.get(name)
    if profile is None:
        known = ", ".join(sorted({*added, *SHIPPED}))
        raise UriError(f"There is no card profile '{name}'. There are: {known}.")
    return profile
