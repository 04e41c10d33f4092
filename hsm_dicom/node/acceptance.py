"""What a device that was tried will do here: signatures (PS3.15 Annex C), TLS (B.1 and what followed it), ISCL (B.2).

`tokens` tries operations and says which worked by which mechanism. This module says what each is needed for, and sums
up what that makes of the device.
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
    # Every profile of PS3.15 Annex C can be met with this one; a MAC algorithm besides it is a choice.
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
"""By the name of the operation; what is missing is needed for nothing here."""

_AUTHENTICATION = (
    SecretOperation.IMPORT,
    SecretOperation.GET_CHALLENGE,
    SecretOperation.INTERNAL_AUTHENTICATE,
    SecretOperation.EXTERNAL_AUTHENTICATE,
)
_FIXED_KEYS = (SecretOperation.CBC_ENCRYPTION, SecretOperation.CBC_DECRYPTION, SecretOperation.MAC)


def describe_use(operation: OperationCheck) -> str:
    """What it is needed for, or nothing."""
    return USES.get(operation.operation, "")


def can_make_dicom_signatures(operations: Sequence[OperationCheck]) -> bool:
    """Whether the profiles of PS3.15 Annex C can be met with what works: RSA, PKCS #1 v1.5, SHA-256."""
    return any(o.works and describe_use(o) == DICOM_SIGNATURES for o in operations)


def can_sign_dicom(key: KeyCheck) -> bool:
    """Whether a key makes these signatures, and may."""
    return key.allowed and can_make_dicom_signatures(key.operations)


def is_ready_for_dicom(check: TokenCheck) -> bool:
    """Whether at least one key will do the DICOM jobs."""
    return any(can_sign_dicom(key) for key in check.keys)


def list_uses(check: CardCheck) -> list[str]:
    """What the card was seen to do for DICOM, with keys that the policy lets be used."""
    jobs = [describe_use(o) for key in check.keys if key.allowed for o in key.operations if o.works]
    if any(secret.use is Use.AUTHENTICATION and not secret.problem for secret in check.secrets):
        jobs.append(ISCL_AUTHENTICATION)
    return list(dict.fromkeys(filter(None, jobs)))


class SessionKeys(StrEnum):
    """Where ISCL's unique session keys would be."""

    TOKEN = "token"  # noqa: S105 -- a place
    """Derived on the token, never to leave it."""
    HOST = "host"
    """In this program's memory, if the configuration allows that (host_session_keys)."""


@dataclass(frozen=True)
class ISCLAssessment:
    """What a token will do for ISCL with its secrets. `form` is None where it holds no key that works.

    `fixed_keys` says that MAC and encryption of messages are done by the token under its fixed keys.
    """

    form: DesForm | None
    authenticates: bool
    fixed_keys: bool
    session_keys: SessionKeys | None

    @property
    def ready(self) -> bool:
        """Whether ISCL runs with every key on the token: authentication, integrity, encryption."""
        return self.authenticates and self.fixed_keys

    @property
    def text(self) -> str:
        """The verdict in words."""
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
    """What the form that an import takes makes of the token."""
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
