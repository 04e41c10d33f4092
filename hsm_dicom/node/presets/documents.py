"""The documents that a configuration can be compared with, as data.

| name      | document                                                       | edition                        |
|-----------|----------------------------------------------------------------|--------------------------------|
| `bcp195`  | BCP 195: RFC 8996, RFC 9325                                    | March 2021, November 2022      |
| `tr02102` | BSI TR-02102-1 and -2                                          | 2025-01                        |
| `fips140` | FIPS 140-3, by SP 800-52 Rev. 2, SP 800-131A Rev. 2, SP 800-140C | 2019 to 2024                 |

Only what a configuration decides is in here. `unseen` lists what a document asks for besides.
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
_CHACHA_13 = frozenset({0x1303})
_NIST = frozenset({"secp256r1", "secp384r1", "secp521r1"})


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One document. Sizes are in bits; suites are numbers of the IANA registry, groups its names.

    `sources` are the places of the figures: `version`, `suites`, `groups`, `keys`, `dh`, `iscl`. `unseen` are sentences
    on what a configuration does not show.
    """

    name: str
    title: str
    edition: str
    minimum_version: TLSVersion
    suites: frozenset[int]
    groups: frozenset[str]
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
    minimum_rsa_bits=2048,
    minimum_dh_bits=2048,
    curves=_NIST | {"ed25519", "ed448"},
    sources=MappingProxyType(
        {
            "version": "RFC 9325, 3.1.1; RFC 8996",
            "suites": "RFC 9325, 4.2 (recommended suites of TLS 1.2) and 4.3 (TLS 1.3)",
            "groups": "RFC 9325, 4.5",
            "keys": "RFC 9325, 4.5",
            "dh": "RFC 9325, 4.5",
            "iscl": "RFC 9325, 1: it is about TLS",
        }
    ),
    unseen=("What peers do: their versions, suites and keys. Use hsm-dicom tls probe for each of them.",),
)

TR02102 = Preset(
    name="tr02102",
    title="BSI TR-02102-1 and TR-02102-2",
    edition="2025-01",
    minimum_version=TLSVersion.TLSv1_2,
    suites=_GCM_13 | _CCM_13 | _GCM_ECDHE | _GCM_DHE | _CCM_ECDHE | _CCM_DHE,
    groups=_NIST,
    minimum_rsa_bits=3000,
    minimum_dh_bits=3000,
    curves=_NIST,
    sources=MappingProxyType(
        {
            "version": "TR-02102-2, 3.2",
            "suites": "TR-02102-2, 3.3.1 (TLS 1.2) and 3.4.4 (TLS 1.3)",
            "groups": "TR-02102-2, 3.4.2",
            "keys": "TR-02102-2, 3.6.1; TR-02102-1, 2.3",
            "dh": "TR-02102-2, 3.6.1",
            "iscl": "TR-02102-1, 2.1: neither DES nor MD5 is recommended",
        }
    ),
    unseen=(
        "The random number generators of this machine and of its tokens (TR-02102-1, chapter 8).",
        "Until when a mechanism may be used: compare the period of use of TLS 1.2 in the edition that applies to you.",
        "Groups with ML-KEM: they are not in this edition. Compare a later one.",
    ),
)

FIPS140 = Preset(
    name="fips140",
    title="FIPS 140-3 (approved algorithms)",
    edition="SP 800-52 Rev. 2 (2019), SP 800-131A Rev. 2 (2019), SP 800-186 (2023), FIPS 203 (2024)",
    minimum_version=TLSVersion.TLSv1_2,
    suites=_GCM_13 | _CCM_13 | _GCM_ECDHE | _GCM_DHE | _CCM_ECDHE | _CCM_DHE,
    groups=_NIST | {"X25519MLKEM768"},
    minimum_rsa_bits=2048,
    minimum_dh_bits=2048,
    curves=_NIST | {"ed25519", "ed448"},
    sources=MappingProxyType(
        {
            "version": "SP 800-52 Rev. 2, 3.1",
            "suites": "SP 800-52 Rev. 2, 3.3.1",
            "groups": "SP 800-56A Rev. 3, appendix D; FIPS 203 for ML-KEM",
            "keys": "SP 800-131A Rev. 2, 3; FIPS 186-5",
            "dh": "SP 800-56A Rev. 3, 5.5.1",
            "iscl": "SP 800-131A Rev. 2, 2 and 9: neither DES nor MD5 is approved",
        }
    ),
    unseen=(
        "Whether a token or a library is a validated module: look up its certificate number in the list of NIST's "
        "CMVP, and compare firmware or version.",
        "Which provider OpenSSL uses: hsm-dicom does not change its configuration.",
        "The package cryptography brings an OpenSSL of its own, which is not a validated module. It verifies "
        "signatures.",
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in (BCP195, TR02102, FIPS140)})
"""The documents by name, as `check-config --report` takes it."""
