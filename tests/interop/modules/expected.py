"""What each module does, as it was seen: mechanisms, and the classes of errors where it does less than others.

Versions: SoftHSM 2.6.1, NSS 3.87, p11-kit 0.24.1, opencryptoki 3.8.1, tpm2-pkcs11 1.9.0 (Debian 12). p11-kit 0.25.5
and opencryptoki 3.23 (Debian 13) do more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.packages import read_version
from tests.remote import PASSES_PARAMETERS

NOT_OFFERED = "MechanismNotOfferedError"

ECDSA = {"ECDSA, SHA256": "CKM_ECDSA", "ECDSA, SHA384": "CKM_ECDSA"}

RSA = {
    "PKCS1, SHA256": "CKM_SHA256_RSA_PKCS",
    "PKCS1, SHA384": "CKM_SHA384_RSA_PKCS",
    "PKCS1, SHA512": "CKM_SHA512_RSA_PKCS",
    "PSS, SHA256": "CKM_SHA256_RSA_PKCS_PSS",
    "PSS, SHA384": "CKM_SHA384_RSA_PKCS_PSS",
}

DECRYPTION = {"PKCS1": "CKM_RSA_X_509", "OAEP, SHA1": "CKM_RSA_PKCS_OAEP", "OAEP, SHA256": "CKM_RSA_PKCS_OAEP"}

WRONG_PIN = ["PinRefusedError, 1 presented", "PinNotPresentedError, 0 presented"]
ACCEPTED = "done, 1 presented"
COUNTED = [*WRONG_PIN, "PinNotPresentedError, 0 presented", ACCEPTED, ACCEPTED]
"""A wrong PIN twice, then the right one unattended, typed, and unattended: this token reports that a wrong PIN came."""
NOT_COUNTED = [*WRONG_PIN, ACCEPTED, ACCEPTED, ACCEPTED]
"""The same with a token that reports nothing of it."""

HANDSHAKES = {"TLSv1_2": "done", "TLSv1_3": "done"}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one module does. A key that it does not generate is an error of the class `NOT_OFFERED`."""

    keys: tuple[str, ...] = ("decrypt", "p256", "p384", "rsa")
    findings: tuple[str, ...] = ()
    """What the key policy remarks on a generated key."""
    rsa: Mapping[str, str] = field(default_factory=lambda: RSA)
    decryption: Mapping[str, str] = field(default_factory=lambda: DECRYPTION)
    pins: tuple[str, ...] = tuple(COUNTED)
    child: str = "done"
    """What a signature in a forked child ends with."""
    rsa_handshakes: Mapping[str, str] = field(default_factory=lambda: HANDSHAKES)
    refused_in_check: tuple[str, ...] = ()
    """Operations of `token check` that it refuses."""
    checked_elsewhere: str = ""
    """A key whose check is slow, and has a test of its own."""

    @property
    def signing(self) -> tuple[str, ...]:
        """The keys that sign."""
        return tuple(label for label in self.keys if label != "decrypt")


_SOFTHSM = Expected(
    decryption=DECRYPTION | {"OAEP, SHA256": NOT_OFFERED}, refused_in_check=("OAEP decryption, SHA256",)
)

EXPECTED: dict[str, Expected] = {
    "softhsm": _SOFTHSM,
    "isolated": _SOFTHSM,
    # It does not say that a key was generated in it, which counts as imported.
    "nss": Expected(findings=("imported",), pins=tuple(NOT_COUNTED)),
    "p11-kit": Expected(
        rsa=RSA if PASSES_PARAMETERS else RSA | dict.fromkeys(("PSS, SHA256", "PSS, SHA384"), "CKM_RSA_PKCS_PSS"),
        decryption=DECRYPTION | {"OAEP, SHA256": NOT_OFFERED},
        refused_in_check=("OAEP decryption, SHA256",),
    ),
    "opencryptoki": Expected()
    if read_version("opencryptoki") >= (3, 23)
    else Expected(
        keys=("decrypt", "rsa"),
        rsa=RSA | dict.fromkeys(("PKCS1, SHA256", "PKCS1, SHA384", "PKCS1, SHA512"), "CKM_RSA_PKCS"),
    ),
    # Its key that may only sign signs no digest, and not with PSS; a child's C_Finalize would end its parent's login.
    "tpm": Expected(
        rsa=RSA | {"PSS, SHA256": NOT_OFFERED, "PSS, SHA384": NOT_OFFERED},
        pins=tuple(NOT_COUNTED),
        child="TokenLostError",
        rsa_handshakes=dict.fromkeys(HANDSHAKES, NOT_OFFERED),
        checked_elsewhere="rsa",
    ),
}
