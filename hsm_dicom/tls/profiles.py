"""The TLS Secure Transport Connection Profiles of PS3.15 Annex B, as data.

| name                      | profile                                   | clause and edition                          |
|---------------------------|-------------------------------------------|---------------------------------------------|
| `bcp195-rfc9325`          | BCP 195 RFC 8996, 9325                    | B.12, 2024e; the default                    |
| `modified-bcp195-rfc9325` | Modified BCP 195 RFC 8996, 9325           | B.13, 2023b with CP 2311                    |
| `bcp195`                  | BCP 195                                   | B.9, retired after 2022d                    |
| `bcp195-non-downgrading`  | Non-Downgrading BCP 195                   | B.10, retired after 2022d                   |
| `bcp195-extended`         | Extended BCP 195                          | B.11, retired after 2022d                   |

What the installed OpenSSL cannot offer of a profile is computed in `offered.py`, never left out here. The profiles
that were retired before these, with RSA key exchange, live apart in `hsm_dicom.tls.legacy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ssl import TLSVersion

from hsm_dicom.tls.errors import ContextError
from hsm_dicom.tls.suites import Suite, suites
from hsm_dicom.trust import AlgorithmPolicy


class Status(StrEnum):
    """The place of a profile in the standard."""

    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class TLSProfile:
    """What one profile allows, and what it demands.

    `suites` are those that are offered, most preferred first; `required` those of them that the profile demands of a
    server. `groups` and `signature_algorithms` have the names of the IANA registries. `additional_groups` are hybrids
    with ML-KEM that the profile's text does not exclude; they are preferred to `groups` if OpenSSL has them.
    `algorithms` is what certificates and their chains may rest on, sizes in bits. `server_order`: the server's order of
    suites decides, not the client's. `remarks` say what of the profile's text is not followed to the letter, and why.
    """

    name: str
    title: str
    clause: str
    status: Status
    minimum_version: TLSVersion
    maximum_version: TLSVersion
    suites: tuple[Suite, ...]
    required: tuple[Suite, ...]
    groups: tuple[str, ...]
    additional_groups: tuple[str, ...] = ()
    signature_algorithms: tuple[str, ...]
    algorithms: AlgorithmPolicy
    minimum_dh_bits: int = 2048
    server_order: bool = False
    remarks: tuple[str, ...] = ()


_NIST_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_SHA2 = frozenset({"sha256", "sha384", "sha512"})

# FIPS 203 with X25519, for TLS 1.3 (0x11EC in the IANA registry; OpenSSL 3.5 and newer).
_HYBRIDS = ("X25519MLKEM768",)

_RSA_AND_ECDSA_SHA2 = (
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pss_pss_sha256",
    "rsa_pss_pss_sha384",
    "rsa_pss_pss_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
)
_SHA256_AND_384_ONLY = tuple(name for name in _RSA_AND_ECDSA_SHA2 if not name.endswith("sha512"))

# RFC 8446, 9.1 and B.4. RFC 9325, 4.2 advises against the short authentication tag of CCM_8.
_TLS13_OF_RFC_9325 = suites(0x1302, 0x1303, 0x1301, 0x1304)
# RFC 9325, 4.2 (and RFC 7525, 4.2): the recommended suites of TLS 1.2.
_TLS12_RECOMMENDED = suites(0xC02C, 0xC030, 0xC02B, 0xC02F)
# PS3.15 B.10: all four "shall" be supported.
_NON_DOWNGRADING = suites(0xC030, 0x009F, 0xC02F, 0x009E)
_CURRENT_KEYS = AlgorithmPolicy(curves=_NIST_CURVES | {"ed25519", "ed448"}, hashes=_SHA2)
_RSA_AND_NIST_KEYS = AlgorithmPolicy(curves=_NIST_CURVES, hashes=_SHA2)

BCP195_RFC9325 = TLSProfile(
    name="bcp195-rfc9325",
    title="BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile",
    clause="PS3.15 B.12",
    status=Status.CURRENT,
    minimum_version=TLSVersion.TLSv1_2,
    maximum_version=TLSVersion.TLSv1_3,
    suites=_TLS13_OF_RFC_9325 + _TLS12_RECOMMENDED,
    required=_TLS12_RECOMMENDED,
    groups=("x25519", "secp256r1", "secp384r1", "secp521r1", "x448"),
    additional_groups=_HYBRIDS,
    signature_algorithms=("ed25519", "ed448", *_RSA_AND_ECDSA_SHA2),
    algorithms=_CURRENT_KEYS,
)

MODIFIED_BCP195_RFC9325 = TLSProfile(
    name="modified-bcp195-rfc9325",
    title="Modified BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile",
    clause="PS3.15 B.13",
    status=Status.CURRENT,
    minimum_version=TLSVersion.TLSv1_2,
    maximum_version=TLSVersion.TLSv1_3,
    suites=suites(0x1302, 0x1303, 0x1301, 0x1304, 0x1305)
    + suites(0xC02C, 0xC030, 0xC087, 0xC08B, 0xC0AD, 0xC0AF, 0xCCA9)
    + suites(0xCCA8, 0xC02F, 0xC02B, 0xC086, 0xC08A, 0xC0AC, 0xC0AE)
    + suites(0x009F, 0xC07D, 0xC09F, 0xC0A3, 0xCCAA, 0x009E, 0xC07C, 0xC09E, 0xC0A2),
    required=suites(0x1302, 0x1303, 0x1301, 0x1304, 0x1305)
    + suites(0xC02C, 0xC030, 0xC0AD, 0xC0AF, 0xCCA9, 0xCCA8, 0xC02F, 0xC02B, 0xC0AC, 0xC0AE),
    groups=("secp256r1", "secp384r1", "secp521r1", "x448"),
    signature_algorithms=_SHA256_AND_384_ONLY,
    algorithms=AlgorithmPolicy(curves=_NIST_CURVES, hashes=_SHA2),
    server_order=True,
    remarks=(
        "X25519 is left out: its field has 255 bits, and the profile asks for 256.",
        "Only a listener with two identities, one RSA and one EC, offers every suite that is required.",
    ),
)

BCP195 = TLSProfile(
    name="bcp195",
    title="BCP 195 TLS Secure Transport Connection Profile",
    clause="PS3.15 B.9 (2022d)",
    status=Status.RETIRED,
    minimum_version=TLSVersion.TLSv1_2,
    maximum_version=TLSVersion.TLSv1_3,
    suites=_TLS13_OF_RFC_9325 + _TLS12_RECOMMENDED + suites(0x009F, 0x009E),
    required=suites(0xC030, 0xC02F, 0x009F, 0x009E),
    groups=("x25519", "secp256r1", "secp384r1", "secp521r1", "x448"),
    additional_groups=_HYBRIDS,
    signature_algorithms=_RSA_AND_ECDSA_SHA2,
    algorithms=_RSA_AND_NIST_KEYS,
    remarks=(
        "The fallback to TLS 1.1 and 1.0 is not offered: RFC 8996 has withdrawn them; a peer that has nothing else "
        "needs an exception (a legacy table).",
    ),
)

NON_DOWNGRADING_BCP195 = TLSProfile(
    name="bcp195-non-downgrading",
    title="Non-Downgrading BCP 195 TLS Secure Transport Connection Profile",
    clause="PS3.15 B.10 (2022d)",
    status=Status.RETIRED,
    minimum_version=TLSVersion.TLSv1_2,
    maximum_version=TLSVersion.TLSv1_3,
    suites=_TLS13_OF_RFC_9325 + _NON_DOWNGRADING + suites(0xC02C, 0xC02B),
    required=_NON_DOWNGRADING,
    groups=("x25519", "secp256r1", "secp384r1", "secp521r1", "x448"),
    additional_groups=_HYBRIDS,
    signature_algorithms=_RSA_AND_ECDSA_SHA2,
    algorithms=_RSA_AND_NIST_KEYS,
)

EXTENDED_BCP195 = TLSProfile(
    name="bcp195-extended",
    title="Extended BCP 195 TLS Secure Transport Connection Profile",
    clause="PS3.15 B.11 (2022d)",
    status=Status.RETIRED,
    minimum_version=TLSVersion.TLSv1_2,
    maximum_version=TLSVersion.TLSv1_2,
    suites=_NON_DOWNGRADING + suites(0xC07D, 0xC07C, 0xC02C, 0xC087, 0xC08B, 0xC02B, 0xC086, 0xC08A),
    required=_NON_DOWNGRADING,
    groups=("secp256r1", "secp384r1", "secp521r1", "x448"),
    signature_algorithms=_RSA_AND_ECDSA_SHA2,
    algorithms=_RSA_AND_NIST_KEYS,
    remarks=("TLS 1.3 is not offered: the profile allows no other suites than those it lists, all of TLS 1.2.",),
)

DEFAULT = BCP195_RFC9325

PROFILES: dict[str, TLSProfile] = {
    profile.name: profile
    for profile in (BCP195_RFC9325, MODIFIED_BCP195_RFC9325, BCP195, NON_DOWNGRADING_BCP195, EXTENDED_BCP195)
}


def get_profile(name: str) -> TLSProfile:
    """Return the profile with this name. Raises `ContextError`, which lists the names."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ContextError(f"There is no TLS profile '{name}'. There are: {', '.join(PROFILES)}.") from None
