"""The result of a certificate validation: the answer, the reason, the path and the validation time.

The texts are for people, the codes (`Trust`, `Reason`, `Caution`, `Revocation`) for programs; both are stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hsm_dicom.trust.policy import CertificatePurpose


class Trust(StrEnum):
    """Answer of a validation. INDETERMINATE is a refusal that more data may change, never a weaker TRUSTED."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    INDETERMINATE = "indeterminate"


class Reason(StrEnum):
    """The reason for the answer, for programs."""

    TRUSTED = "trusted"
    NO_ANCHORS = "no-trust-anchors"
    NO_PATH = "no-path"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    BAD_SIGNATURE = "bad-signature"
    NOT_A_CA = "not-a-ca"
    PATH_TOO_LONG = "path-too-long"
    PATH_INVALID = "path-invalid"
    UNKNOWN_CRITICAL_EXTENSION = "unknown-critical-extension"
    WEAK_HASH = "weak-hash"
    WEAK_KEY = "weak-key"
    WRONG_KEY_USAGE = "wrong-key-usage"
    WRONG_EXTENDED_KEY_USAGE = "wrong-extended-key-usage"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    MALFORMED = "malformed"
    CANNOT_BE_EXAMINED = "cannot-be-examined"
    TOO_COMPLEX = "too-complex"


SUB_INDICATIONS = {
    Reason.NO_ANCHORS: "NO_CERTIFICATE_CHAIN_FOUND",
    Reason.NO_PATH: "NO_CERTIFICATE_CHAIN_FOUND",
    Reason.NOT_YET_VALID: "OUT_OF_BOUNDS_NO_POE",
    Reason.EXPIRED: "OUT_OF_BOUNDS_NO_POE",
    Reason.WEAK_HASH: "CRYPTO_CONSTRAINTS_FAILURE_NO_POE",
    Reason.WEAK_KEY: "CRYPTO_CONSTRAINTS_FAILURE_NO_POE",
    Reason.WRONG_KEY_USAGE: "CHAIN_CONSTRAINTS_FAILURE",
    Reason.WRONG_EXTENDED_KEY_USAGE: "CHAIN_CONSTRAINTS_FAILURE",
    Reason.REVOKED: "REVOKED_NO_POE",
    Reason.REVOCATION_UNKNOWN: "TRY_LATER",
    Reason.MALFORMED: "NO_SIGNING_CERTIFICATE_FOUND",
}
"""The sub-indications of INDETERMINATE (ETSI EN 319 102-1, 5.1.3); any other reason is a general failure."""
CHAIN_GENERAL_FAILURE = "CERTIFICATE_CHAIN_GENERAL_FAILURE"


class Caution(StrEnum):
    """A warning about a certificate that is trusted, for programs."""

    WEAK_HASH = "weak-hash"
    SHORT_KEY = "short-key"
    SELF_SIGNED = "self-signed"
    EXPIRES_SOON = "expires-soon"
    REVOKED_SINCE = "revoked-since"
    REVOCATION_NOT_CHECKED = "revocation-not-checked"


class Revocation(StrEnum):
    """The revocation state of one certificate at the validation time."""

    GOOD = "good"
    REVOKED = "revoked"
    REVOKED_SINCE = "revoked since"
    UNKNOWN = "unknown"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class TrustProblem:
    """One reason against a certificate: the code and its text.

    `is_indefinite` says that another certificate could change the answer (ETSI EN 319 102-1: INDETERMINATE,
    NO_CERTIFICATE_CHAIN_FOUND).
    """

    reason: Reason
    text: str
    is_indefinite: bool = False


@dataclass(frozen=True)
class TrustWarning:
    """A warning about a certificate that is trusted."""

    caution: Caution
    text: str


@dataclass(frozen=True)
class RevocationStatus:
    """The revocation of one certificate: the state, its text, and the source.

    `revoked_at` is the instant from which the certificate is bad: the revocation date or, where the CA states
    an earlier one, the invalidity date (RFC 5280 5.3.2). `reason` is a name of RFC 5280 5.3.1, for example
    `keyCompromise`. `source` names the CRL or OCSP response, and `issued_at` is when it was issued.
    """

    state: Revocation
    text: str
    source: str | None = None
    revoked_at: datetime | None = None
    reason: str | None = None
    issued_at: datetime | None = None


@dataclass(frozen=True)
class PathCertificate:
    """One certificate of the validated path, described for a report."""

    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    key: str
    signature_hash: str | None
    sha256: str
    is_anchor: bool
    revocation: RevocationStatus


@dataclass(frozen=True)
class TrustVerdict:
    """Whether a certificate may be used for a purpose at a validation time.

    `path` runs from the certificate to the trust anchor; if no path was found, it is the longest partial path.
    `time_proven` is True if a time stamp proves the validation time, and False if it is claimed or present.
    """

    trust: Trust
    reason: Reason
    sentences: tuple[str, ...]
    purpose: CertificatePurpose
    validation_time: datetime
    time_proven: bool
    path: tuple[PathCertificate, ...] = ()
    warnings: tuple[TrustWarning, ...] = ()

    @property
    def trusted(self) -> bool:
        """True only for `Trust.TRUSTED`."""
        return self.trust is Trust.TRUSTED

    @property
    def sub_indication(self) -> str | None:
        """The sub-indication of ETSI EN 319 102-1 for `Trust.INDETERMINATE`; None for any other answer."""
        return SUB_INDICATIONS.get(self.reason, CHAIN_GENERAL_FAILURE) if self.trust is Trust.INDETERMINATE else None

    @property
    def text(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)
