"""The retired profiles, as data.

| name        | key exchange | ciphers (…_SHA), preferred first | TLS        | where it comes from                     |
|-------------|--------------|----------------------------------|------------|-----------------------------------------|
| `aes-tls`   | RSA          | AES_128_CBC, 3DES_EDE_CBC        | 1.0 to 1.2 | PS3.15 B.3 (2017c), retired after 2018a |
| `basic-tls` | RSA          | 3DES_EDE_CBC                     | 1.0 to 1.2 | PS3.15 B.1 (2017c), retired after 2018a |
| `des-tls`   | RSA          | DES_CBC                          | 1.0, 1.1   | no DICOM profile; products of that time |
| `dhe-aes`   | DHE_RSA      | AES_256_CBC, AES_128_CBC         | 1.0 to 1.2 | no DICOM profile; products of that time |
| `dhe-3des`  | DHE_RSA      | 3DES_EDE_CBC                     | 1.0 to 1.2 | no DICOM profile; products of that time |
| `dhe-des`   | DHE_RSA      | DES_CBC                          | 1.0, 1.1   | no DICOM profile; products of that time |

DES has 56 bits: anyone who records a connection can read it. 3DES and CBC-mode suites without encrypt-then-MAC have
known weaknesses. RSA key exchange has no forward secrecy; Diffie-Hellman has it. TLS 1.2 has no DES (RFC 5469).

A server's key decrypts with RSA key exchange and signs with Diffie-Hellman. No key does both, so no profile mixes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hsm_dicom.tls.errors import ContextError
from hsm_dicom.tls.suites import Suite, suites

TLS10, TLS11, TLS12 = (3, 1), (3, 2), (3, 3)
"""Versions as encoded on the wire."""

VERSION_NAMES = {TLS10: "TLSv1.0", TLS11: "TLSv1.1", TLS12: "TLSv1.2"}


class KeyExchange(StrEnum):
    """Method to agree on a common secret, which determines the use of the server's key."""

    RSA = "RSA"
    """The client encrypts the secret, and the server's key decrypts it (RFC 5246, 7.4.7.1)."""
    DHE_RSA = "DHE_RSA"
    """Ephemeral Diffie-Hellman, signed by the server's key (RFC 5246, 7.4.3)."""


@dataclass(frozen=True, kw_only=True)
class LegacyProfile:
    """The contents of one retired profile. `warning` lists its risks for the officer who enables it."""

    name: str
    key_exchange: KeyExchange
    title: str
    clause: str
    suites: tuple[Suite, ...]
    minimum_version: tuple[int, int]
    maximum_version: tuple[int, int]
    warning: str


_NO_FORWARD_SECRECY = "anyone who records a connection and later gains access to the token can decrypt it"

AES_TLS = LegacyProfile(
    name="aes-tls",
    key_exchange=KeyExchange.RSA,
    title="AES TLS Secure Transport Connection Profile",
    clause="PS3.15 B.3 (2017c)",
    suites=suites(0x002F, 0x000A),
    minimum_version=TLS10,
    maximum_version=TLS12,
    warning=f"No forward secrecy: {_NO_FORWARD_SECRECY}.",
)
BASIC_TLS = LegacyProfile(
    name="basic-tls",
    key_exchange=KeyExchange.RSA,
    title="Basic TLS Secure Transport Connection Profile",
    clause="PS3.15 B.1 (2017c)",
    suites=suites(0x000A),
    minimum_version=TLS10,
    maximum_version=TLS12,
    warning=f"3DES must not carry more than some gigabytes (Sweet32), and there is no forward secrecy: "
    f"{_NO_FORWARD_SECRECY}.",
)
DES_TLS = LegacyProfile(
    name="des-tls",
    key_exchange=KeyExchange.RSA,
    title="TLS with single DES",
    clause="no clause of the standard",
    suites=suites(0x0009),
    minimum_version=TLS10,
    maximum_version=TLS11,
    warning="Single DES is broken: a recorded connection can be read by trying out keys for a few days.",
)

_NO_CLAUSE = "no clause of the standard"
DHE_AES = LegacyProfile(
    name="dhe-aes",
    key_exchange=KeyExchange.DHE_RSA,
    title="TLS with Diffie-Hellman and AES in CBC mode",
    clause=_NO_CLAUSE,
    suites=suites(0x0039, 0x0033),
    minimum_version=TLS10,
    maximum_version=TLS12,
    warning="CBC mode with SHA-1, and TLS from 1.0 on.",
)
DHE_3DES = LegacyProfile(
    name="dhe-3des",
    key_exchange=KeyExchange.DHE_RSA,
    title="TLS with Diffie-Hellman and 3DES",
    clause=_NO_CLAUSE,
    suites=suites(0x0016),
    minimum_version=TLS10,
    maximum_version=TLS12,
    warning="3DES must not carry more than some gigabytes (Sweet32).",
)
DHE_DES = LegacyProfile(
    name="dhe-des",
    key_exchange=KeyExchange.DHE_RSA,
    title="TLS with Diffie-Hellman and single DES",
    clause=_NO_CLAUSE,
    suites=suites(0x0015),
    minimum_version=TLS10,
    maximum_version=TLS11,
    warning=DES_TLS.warning,
)

PROFILES: dict[str, LegacyProfile] = {
    profile.name: profile for profile in (AES_TLS, BASIC_TLS, DES_TLS, DHE_AES, DHE_3DES, DHE_DES)
}


def get_profile(name: str) -> LegacyProfile:
    """Return the retired profile with this name. Raises `ContextError`, which lists the names."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ContextError(f"There is no retired TLS profile '{name}'. There are: {', '.join(PROFILES)}.") from None
