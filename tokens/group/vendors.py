"""Modules and tokens of makers who combine several devices into one token by themselves.

Such a token fails over and shares the load inside the module, with keys that the maker copies between the devices. A
key group over it, or over the devices behind it, only adds a second opinion of which device works.

| product         | recognised by                                 | source                                             |
|-----------------|-----------------------------------------------|----------------------------------------------------|
| Thales Luna     | libCryptoki2*.so; slot "HA Virtual Card Slot" | Luna Network HSM 7.1, "Managing and               |
|                 |                                               | Troubleshooting Your HA Groups"                    |
| Entrust nShield | libcknfast*.so; token "loadshared             | nShield Security World 13.6, "PKCS#11 with load    |
|                 | accelerator"                                  | sharing mode"                                      |
| AWS CloudHSM    | libcloudhsm_pkcs11*.so                        | User Guide, "Multiple slot configuration with     |
|                 |                                               | PKCS #11 library": a slot is a cluster             |
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from tokens.pkcs11.search import TokenInfo


@dataclass(frozen=True)
class VendorGroup:
    """How a maker's module combines several devices. `advice` is a sentence: what to set up, and what to name then."""

    product: str
    modules: tuple[str, ...]
    advice: str
    slot_descriptions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def is_in(self, module: Path) -> bool:
        """Return whether the module's file has the maker's name, also behind a link."""
        names = {module.name.lower(), module.resolve().name.lower()}
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in self.modules)

    def has_combined(self, token: TokenInfo) -> bool:
        """Return whether a token is already one that combines several devices."""
        return token.slot_description in self.slot_descriptions or token.label in self.labels


VENDOR_GROUPS = (
    VendorGroup(
        product="Thales Luna",
        modules=("libcryptoki2*.so*", "cryptoki*.dll"),
        advice="Make an HA group (lunacm: hagroup creategroup, then hagroup haonly), and name its virtual slot "
        "as the only token.",
        slot_descriptions=("HA Virtual Card Slot",),
    ),
    VendorGroup(
        product="Entrust nShield",
        modules=("libcknfast*.so*",),
        advice="Set CKNFAST_LOADSHARING=1 in the environment or in cknfastrc, and name the one virtual token as the "
        "only token.",
        labels=("loadshared accelerator",),
    ),
    VendorGroup(
        product="AWS CloudHSM",
        modules=("libcloudhsm_pkcs11*.so*",),
        advice="One slot is a whole cluster; add HSMs to the cluster, and name this slot as the only token.",
    ),
)
"""The makers whose modules do this."""


def find_vendor_group(module: Path, token: TokenInfo | None = None) -> VendorGroup | None:
    """Return how the maker of a module, or of a token of it, combines several devices; None if that is not known."""
    for group in VENDOR_GROUPS:
        if group.is_in(module) or (token is not None and group.has_combined(token)):
            return group
    return None
