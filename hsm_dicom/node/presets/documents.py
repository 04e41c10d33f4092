"""The documents that a configuration can be compared with, as data.

| name      | document                                                       | edition                        |
|-----------|----------------------------------------------------------------|--------------------------------|
| `bcp195`  | BCP 195: RFC 8996, RFC 9325                                    | March 2021, November 2022      |
| `tr02102` | BSI TR-02102-1 and -2                                          | 2025-01                        |
| `fips140` | FIPS 140-3, by SP 800-52 Rev. 2, SP 800-131A Rev. 2, FIPS 186-5 | 2019 to 2024                  |

Only what a configuration decides is in here: suites and groups that no TLS profile offers are left out. `unseen` lists
what a document asks for besides. docs/howto/compare-with-bcp195.md says which figures were compared with which text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ssl import TLSVersion
from types import MappingProxyType

_GCM_13 = frozenset({0x1301, 0x1302})
_GCM_ECDHE = frozenset({0xC02B, 0xC02C, 0xC02F, 0xC030})
_GCM_DHE = frozenset({0x009E, 0x009F})
_CCM_13 = frozenset({0x1304})
_CCM_ECDHE = frozenset({0xC0AC, 0xC0AD})
_CCM_DHE = frozenset({0xC09E, 0xC09F})
_CCM_8 = frozenset({0x1305, 0xC0AE, 0xC0AF, 0xC0A2, 0xC0A3})
_CHACHA_13 = frozenset({0x1303})
_NIST = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_BRAINPOOL = frozenset({"brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"})

_ECDSA = frozenset({"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512"})
_RSA = frozenset(
    f"{form}_sha{size}" for form in ("rsa_pss_rsae", "rsa_pss_pss", "rsa_pkcs1") for size in (256, 384, 512)
)
_EDDSA = frozenset({"ed25519", "ed448"})

_SHA2_MACS = frozenset({"SHA256", "SHA384", "SHA512"})
_SHA2_AND_3 = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One document. Sizes are in bits; suites are numbers of the IANA registry, groups and signature schemes its names.

    `required_version` is one that must be offered. `macs` and `certificate_hashes` are what may be accepted in the
    signatures of objects, None for a document that is about TLS alone. `sources` are the places of the figures:
    `version`, `suites`, `groups`, `signatures`, `keys`, `dh`, `hashes`, `padding`, `iscl`. `unseen` are sentences on
    what a configuration does not show.
    """

    name: str
    title: str
    edition: str
    minimum_version: TLSVersion
    required_version: TLSVersion | None = None
    suites: frozenset[int]
    groups: frozenset[str]
    signature_schemes: frozenset[str]
    macs: frozenset[str] | None = None
    certificate_hashes: frozenset[str] | None = None
    allows_pkcs1_padding: bool = True
    minimum_rsa_bits: int
    minimum_dh_bits: int
    curves: frozenset[str]
    sources: Mapping[str, str]
    unseen: tuple[str, ...]


BCP195 = Preset(
    name="bcp195",
    title="BCP 195 (RFC 8996, RFC 9325)",
    edition="RFC 9325, November 2022",
    minimum_version=TLSVersion.TLSv1_2,
    suites=_GCM_13 | _CHACHA_13 | _CCM_13 | _GCM_ECDHE,
    groups=_NIST | {"x25519", "x448", "X25519MLKEM768"},
    signature_schemes=_ECDSA | _RSA | _EDDSA,
    minimum_rsa_bits=2048,
    minimum_dh_bits=2048,
    curves=_NIST | {"ed25519", "ed448"},
    sources=MappingProxyType(
        {
            "version": "RFC 9325, 3.1.1; RFC 8996",
            "suites": "RFC 9325, 4.2 (recommended suites of TLS 1.2) and 4.3 (TLS 1.3)",
            "groups": "RFC 9325, 4.5",
            "signatures": "RFC 9325, 4.5; RFC 9155",
            "keys": "RFC 9325, 4.5",
            "dh": "RFC 9325, 4.5",
            "hashes": "RFC 9325, 1: it is about TLS",
            "padding": "RFC 9325, 1: it is about TLS",
            "iscl": "RFC 9325, 1: it is about TLS",
        }
    ),
    unseen=(
        "What peers do: their versions, suites and keys. Use hsm-dicom tls probe for each of them.",
        "The signatures of objects: the document is about TLS.",
    ),
)

TR02102 = Preset(
    name="tr02102",
    title="BSI TR-02102-1 and TR-02102-2",
    edition="2025-01",
    minimum_version=TLSVersion.TLSv1_2,
    suites=_GCM_13 | _CCM_13 | _GCM_ECDHE | _GCM_DHE | _CCM_ECDHE | _CCM_DHE,
    groups=_NIST,
    signature_schemes=_ECDSA | _RSA,
    macs=_SHA2_MACS,
    certificate_hashes=_SHA2_AND_3,
    allows_pkcs1_padding=False,
    minimum_rsa_bits=3000,
    minimum_dh_bits=3000,
    curves=_NIST | _BRAINPOOL,
    sources=MappingProxyType(
        {
            "version": "TR-02102-2, 3.2",
            "suites": "TR-02102-2, 3.3.1 (TLS 1.2) and 3.4.4 (TLS 1.3)",
            "groups": "TR-02102-2, 3.4.2",
            "signatures": "TR-02102-2, 3.3.3 (TLS 1.2) and 3.4.3 (TLS 1.3)",
            "keys": "TR-02102-2, 3.6.1",
            "dh": "TR-02102-2, 3.6.1",
            "hashes": "TR-02102-1, chapter on hash functions",
            "padding": "TR-02102-1, section on RSA signatures",
            "iscl": "TR-02102-1: neither DES nor MD5 is recommended",
        }
    ),
    unseen=(
        "The random number generators of this machine and of its tokens (TR-02102-1, chapter 8).",
        "Until when a mechanism may be used: compare the period of use of TLS 1.2 in the edition that applies to you.",
        "Groups with ML-KEM: they are not in this edition. Compare a later one.",
        "The edition 2026-01 ends the recommendation of RSA with PKCS#1 v1.5 in certificates, that of DHE suites after "
        "2029, and that of TLS 1.2 after 2031.",
        "The hash that sign --mac names. Its default, sha256, is recommended.",
    ),
)

FIPS140 = Preset(
    name="fips140",
    title="FIPS 140-3 (approved algorithms)",
    edition="SP 800-52 Rev. 2 (2019), SP 800-131A Rev. 2 (2019), FIPS 186-5 (2023), SP 800-186 (2023), FIPS 203 (2024)",
    minimum_version=TLSVersion.TLSv1_2,
    required_version=TLSVersion.TLSv1_3,
    suites=_GCM_13 | _CCM_13 | _GCM_ECDHE | _GCM_DHE | _CCM_ECDHE | _CCM_DHE | _CCM_8,
    groups=_NIST | {"X25519MLKEM768"},
    signature_schemes=_ECDSA | _RSA | _EDDSA,
    macs=_SHA2_MACS | {"SHA1"},
    certificate_hashes=_SHA2_AND_3 | {"sha224", "sha1"},
    minimum_rsa_bits=2048,
    minimum_dh_bits=2048,
    curves=_NIST | {"ed25519", "ed448"},
    sources=MappingProxyType(
        {
            "version": "SP 800-52 Rev. 2, 3.1 (TLS 1.3 is required since January 2024)",
            "suites": "SP 800-52 Rev. 2, 3.3.1",
            "groups": "SP 800-56A Rev. 3, appendix D; FIPS 203 for ML-KEM",
            "keys": "SP 800-131A Rev. 2, 3; FIPS 186-5",
            "signatures": "SP 800-52 Rev. 2, 3.2; FIPS 186-5",
            "dh": "SP 800-56A Rev. 3, 5.5.1",
            "hashes": "SP 800-131A Rev. 2, 9: SHA-1 to verify old signatures only, and neither MD5 nor RIPEMD-160",
            "padding": "FIPS 186-5, 5.4",
            "iscl": "SP 800-131A Rev. 2, 2 and 9: neither DES nor MD5 is approved",
        }
    ),
    unseen=(
        "Whether a token or a library is a validated module: look up its certificate number in the list of NIST's "
        "CMVP, and compare firmware or version.",
        "Which provider OpenSSL uses: hsm-dicom does not change its configuration.",
        "Whether an assessor accepts X25519MLKEM768. The report counts it as approved, since half of it is ML-KEM-768 "
        "(FIPS 203); X25519 is not approved by itself, and NIST was still discussing such combinations in 2025.",
        "The package cryptography brings an OpenSSL of its own, which is not a validated module. It verifies "
        "signatures.",
        "The hash that sign --mac names. Its default, sha256, is approved; sha1 is not, for new signatures.",
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in (BCP195, TR02102, FIPS140)})
"""The documents by name, as `check-config --report` takes it."""
