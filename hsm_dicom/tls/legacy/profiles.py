"""The retired profiles with RSA key exchange, as data.

| name        | suites (TLS_RSA_WITH_…), preferred first  | TLS        | where it comes from                     |
|-------------|-------------------------------------------|------------|-----------------------------------------|
| `aes-tls`   | AES_128_CBC_SHA, 3DES_EDE_CBC_SHA         | 1.0 to 1.2 | PS3.15 B.3 (2017c), retired after 2018a |
| `basic-tls` | 3DES_EDE_CBC_SHA                          | 1.0 to 1.2 | PS3.15 B.1 (2017c), retired after 2018a |
| `des-tls`   | DES_CBC_SHA                               | 1.0, 1.1   | no DICOM profile; products of that time |

DES has 56 bits: whoever records a connection can read it. 3DES and CBC-mode suites without encrypt-then-MAC have known
weaknesses, and no RSA key exchange has forward secrecy. DES is gone from TLS 1.2 (RFC 5469).
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm_dicom.tls.errors import UnknownProfile
from hsm_dicom.tls.suites import Suite, suites

TLS10, TLS11, TLS12 = (3, 1), (3, 2), (3, 3)
"""Versions as they stand on the wire."""

VERSION_NAMES = {TLS10: "TLSv1.0", TLS11: "TLSv1.1", TLS12: "TLSv1.2"}


@dataclass(frozen=True, kw_only=True)
class LegacyProfile:
    """What one retired profile offers. `warning` is what an officer must know who opens it."""

    name: str
    title: str
    clause: str
    suites: tuple[Suite, ...]
    minimum_version: tuple[int, int]
    maximum_version: tuple[int, int]
    warning: str


_NO_FORWARD_SECRECY = "whoever gets at the token later, and has recorded a connection, can have it decrypted"

AES_TLS = LegacyProfile(
    name="aes-tls",
    title="AES TLS Secure Transport Connection Profile",
    clause="PS3.15 B.3 (2017c)",
    suites=suites(0x002F, 0x000A),
    minimum_version=TLS10,
    maximum_version=TLS12,
    warning=f"No forward secrecy: {_NO_FORWARD_SECRECY}.",
)
BASIC_TLS = LegacyProfile(
    name="basic-tls",
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
    title="TLS with single DES",
    clause="no clause of the standard",
    suites=suites(0x0009),
    minimum_version=TLS10,
    maximum_version=TLS11,
    warning="Single DES is broken: a recorded connection can be read by trying out keys for a few days.",
)

PROFILES: dict[str, LegacyProfile] = {profile.name: profile for profile in (AES_TLS, BASIC_TLS, DES_TLS)}


def profile_named(name: str) -> LegacyProfile:
    """The retired profile of this name. Raises `UnknownProfile`, which lists the names."""
    try:
        return PROFILES[name]
    except KeyError:
        raise UnknownProfile(f"There is no retired TLS profile '{name}'; there are: {', '.join(PROFILES)}.") from None
