"""The forms in which a PKCS#11 token may hold a single DES key, and the mechanisms of each.

OpenSSL 3 and most HSMs no longer support single DES. Triple DES with equal parts gives the same results as single DES,
so a key K is stored as CKK_DES if the token supports it, else as CKK_DES2 with the value K‖K, else as CKK_DES3 with
K‖K‖K. A token in FIPS mode may refuse equal parts.

Mechanisms: PKCS#11 v3.1, 6.17 (DES3) and 6.18 (DES); key derivation by encrypting data, 6.29.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from pkcs11 import KeyType, Mechanism

from tokens.algorithms.des_keys import KEY_LENGTH


@dataclass(frozen=True)
class DesForm:
    """One form: how often the value repeats the DES key, and the mechanisms that use it."""

    key_type: KeyType
    copies: int
    ecb: Mechanism
    cbc: Mechanism
    mac: Mechanism
    derive: Mechanism

    def value(self, key: bytearray) -> bytearray:
        """Return CKA_VALUE for the DES key."""
        return key * self.copies

    @property
    def name(self) -> str:
        """The key type and the value, for example CKK_DES2 K‖K."""
        return f"CKK_{self.key_type.name.lstrip('_')} " + "‖".join("K" * self.copies)

    @property
    def value_bits(self) -> int:
        """The length of CKA_VALUE in bits, parity included."""
        return 8 * KEY_LENGTH * self.copies


FORMS = (
    DesForm(
        # python-pkcs11 has no public names for single DES.
        KeyType(0x13),  # CKK_DES
        1,
        Mechanism(0x121),  # CKM_DES_ECB
        Mechanism(0x122),  # CKM_DES_CBC
        Mechanism(0x124),  # CKM_DES_MAC_GENERAL
        Mechanism.DES_ECB_ENCRYPT_DATA,
    ),
    DesForm(
        KeyType.DES2,
        2,
        Mechanism.DES3_ECB,
        Mechanism.DES3_CBC,
        Mechanism.DES3_MAC_GENERAL,
        Mechanism.DES3_ECB_ENCRYPT_DATA,
    ),
    DesForm(
        KeyType.DES3,
        3,
        Mechanism.DES3_ECB,
        Mechanism.DES3_CBC,
        Mechanism.DES3_MAC_GENERAL,
        Mechanism.DES3_ECB_ENCRYPT_DATA,
    ),
)
"""All forms, in order of preference."""

FORM_OF_TYPE = {form.key_type: form for form in FORMS}

FULL_MAC = struct.pack("@L", 8)
"""CK_MAC_GENERAL_PARAMS for a MAC of 8 bytes. CKM_DES_MAC returns only 4."""


@cache
def name(mechanism: Mechanism) -> str:
    """Return the PKCS#11 name, such as CKM_DES3_CBC."""
    return "CKM_" + mechanism.name.lstrip("_")
