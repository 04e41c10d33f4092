"""Assessment of a tested device: can it make signatures (PS3.15 Annex C), TLS (B.1 and later), ISCL (B.2)?

`tokens` runs operations and reports which worked by which mechanism. This module maps each operation to its use in
DICOM, and assesses the device as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tokens.pkcs11.check import KeyCheck, TokenCheck
from tokens.pkcs11.secret_keys.check import SecretCheck, SecretOperation
from tokens.pkcs11.secret_keys.des_forms import DesForm
from tokens.secrets import Use
from tokens.smartcard.check import CardCheck
from tokens.trials import OperationCheck

DICOM_SIGNATURES = "DICOM signatures"
ISCL_AUTHENTICATION = "ISCL authentication"

USES = {
    # This one is enough for every profile of PS3.15 Annex C; other MAC algorithms are optional.
    "RSASSA-PKCS1-v1_5, SHA256": DICOM_SIGNATURES,
    "RSASSA-PKCS1-v1_5, SHA256, hashed by the device": DICOM_SIGNATURES,
    "RSASSA-PSS, SHA256": "TLS 1.3",
    "RSASSA-PSS, SHA384": "TLS 1.3",
    "RSASSA-PSS, SHA512": "TLS 1.3",
    "RSAES-PKCS1-v1_5 decryption": "retired TLS profiles",
    "ECDSA, SHA256": "TLS",
    "ECDSA, SHA384": "TLS",
    "ECDSA, SHA512": "TLS",
    SecretOperation.IMPORT.value: "ISCL",
    SecretOperation.GET_CHALLENGE.value: ISCL_AUTHENTICATION,
    SecretOperation.INTERNAL_AUTHENTICATE.value: ISCL_AUTHENTICATION,
    SecretOperation.EXTERNAL_AUTHENTICATE.value: ISCL_AUTHENTICATION,
    SecretOperation.CBC_ENCRYPTION.value: "ISCL, DES-CBC, MD5",
    SecretOperation.CBC_DECRYPTION.value: "ISCL, DES-CBC, MD5",
    SecretOperation.MAC.value: "ISCL, DES-MAC",
    SecretOperation.SESSION_KEY.value: "ISCL, unique keys",
}
"""The use of each operation, by its name; other operations have no use in DICOM."""

_AUTHENTICATION = (
    SecretOperation.IMPORT,
    SecretOperation.GET_CHALLENGE,
    SecretOperation.INTERNAL_AUTHENTICATE,
    SecretOperation.EXTERNAL_AUTHENTICATE,
)
_FIXED_KEYS = (SecretOperation.CBC_ENCRYPTION, SecretOperation.CBC_DECRYPTION, SecretOperation.MAC)


def describe_use(operation: OperationCheck) -> str:
    """Return the use of an operation in DICOM; empty if it has none."""
    return USES.get(operation.operation, "")


def can_make_dicom_signatures(operations: Sequence[OperationCheck]) -> bool:
    """Return whether the operations that work are enough for PS3.15 Annex C: RSA, PKCS #1 v1.5, SHA-256."""
    return any(o.works and describe_use(o) == DICOM_SIGNATURES for o in operations)


def can_sign_dicom(key: KeyCheck) -> bool:
    """Return whether a key can make these signatures, and the policy allows it."""
    return key.allowed and can_make_dicom_signatures(key.operations)


def is_ready_for_dicom(check: TokenCheck) -> bool:
    """Return whether at least one key can sign DICOM objects."""
    return any(can_sign_dicom(key) for key in check.keys)


def list_uses(check: CardCheck) -> list[str]:
    """Return the uses in DICOM that worked with keys of the card that the policy allows."""
    jobs = [describe_use(o) for key in check.keys if key.allowed for o in key.operations if o.works]
    if any(secret.use is Use.AUTHENTICATION and not secret.problem for secret in check.secrets):
        jobs.append(ISCL_AUTHENTICATION)
    return list(dict.fromkeys(filter(None, jobs)))


class SessionKeys(StrEnum):
    """Where unique session keys of ISCL are."""

    TOKEN = "token"  # noqa: S105 -- a place
    """Derived on the token, and never outside it."""
    HOST = "host"
    """In this program's memory, if the configuration allows it (host_session_keys)."""


@dataclass(frozen=True)
class ISCLAssessment:
    """Assessment of a token for ISCL. `form` is None if none of its secret keys works.

    `fixed_keys` says that MAC and encryption of messages are done by the token under its fixed keys.
    """

    form: DesForm | None
    authenticates: bool
    fixed_keys: bool
    session_keys: SessionKeys | None

    @property
    def is_ready(self) -> bool:
        """Whether ISCL works with every key on the token: authentication, integrity, encryption."""
        return self.authenticates and self.fixed_keys

    @property
    def text(self) -> str:
        """The assessment as a sentence."""
        if self.form is None:
            return "ISCL: no, this token runs no form of DES. In FIPS mode a token refuses DES, or equal parts."
        if not self.authenticates:
            return f"ISCL: no, {self.form.name} does not authenticate: see the operations that failed."
        if not self.fixed_keys:
            return (
                f"ISCL: authentication only, {self.form.name}. Messages need another token for the data keys, or "
                "session keys in this program's memory (host_session_keys)."
            )
        if self.session_keys is SessionKeys.TOKEN:
            return f"ISCL: yes, {self.form.name}, session keys stay on the token."
        return (
            f"ISCL: yes, {self.form.name}, with the fixed keys. Session keys cannot stay on the token; unique keys "
            "need them in this program's memory (host_session_keys)."
        )


def assess_iscl(check: SecretCheck) -> ISCLAssessment:
    """Assess a token by the form of DES in which it imports keys."""
    taken = check.taken
    if taken is None:
        return ISCLAssessment(None, authenticates=False, fixed_keys=False, session_keys=None)
    on_token, on_host = taken.works(SecretOperation.SESSION_KEY), taken.works(SecretOperation.INTERNAL_AUTHENTICATE)
    return ISCLAssessment(
        taken.form,
        authenticates=taken.works(*_AUTHENTICATION),
        fixed_keys=taken.works(*_FIXED_KEYS),
        session_keys=SessionKeys.TOKEN if on_token else SessionKeys.HOST if on_host else None,
    )
