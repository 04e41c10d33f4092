"""Verdicts in the words of ETSI EN 319 102-1: main status indication and sub-indication (clause 5.1.3, Table 5).

The words of this package say what to do with an object; ETSI's say which check of its algorithm ended a validation.
They differ where ETSI has no word of its own: what leaves an object questionable is SIG_CONSTRAINTS_FAILURE there, and
a chain that ends at an unknown CA is INDETERMINATE there, and invalid here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from hsm_dicom.trust import Reason, Revocation
from hsm_dicom.trust.result import CHAIN_GENERAL_FAILURE, SUB_INDICATIONS
from hsm_dicom.validation.result import (
    Cause,
    Indication,
    Outcome,
    SignatureVerdict,
    ValidationTimeKind,
    Verdict,
)


class MainIndication(StrEnum):
    """The main status indications of ETSI EN 319 102-1."""

    TOTAL_PASSED = "TOTAL-PASSED"
    TOTAL_FAILED = "TOTAL-FAILED"
    INDETERMINATE = "INDETERMINATE"


class EtsiStatus(NamedTuple):
    """A main status indication, and the sub-indication; None for TOTAL-PASSED."""

    indication: MainIndication
    sub_indication: str | None = None


_PASSED = EtsiStatus(MainIndication.TOTAL_PASSED)
_CONSTRAINTS = "SIG_CONSTRAINTS_FAILURE"


def find_etsi_status(verdict: SignatureVerdict) -> EtsiStatus:
    """Return the status of one signature, by the first of its grounds."""
    if verdict.indication.good:
        return _PASSED
    code = verdict.grounds[0].code if verdict.grounds else ""
    failed = _find_failure(code, verdict)
    if failed is not None:
        return EtsiStatus(MainIndication.TOTAL_FAILED, failed)
    return EtsiStatus(MainIndication.INDETERMINATE, _find_sub_indication(code, verdict))


def find_etsi_status_of_object(verdict: Verdict) -> EtsiStatus | None:
    """Return the status of an object: that of its worst signature; None if no signature was validated for it.

    An object with valid signatures that do not meet the policy is INDETERMINATE, SIG_CONSTRAINTS_FAILURE.
    """
    if verdict.outcome in (Outcome.UNREADABLE, Outcome.NO_SIGNATURE, Outcome.EXEMPT):
        return None
    if verdict.outcome is Outcome.POLICY_NOT_MET:
        return EtsiStatus(MainIndication.INDETERMINATE, _CONSTRAINTS)
    counting = (one for one in verdict.signatures if one.indication is not Indication.HISTORIC)
    return min(map(find_etsi_status, counting), key=lambda status: _WORST_FIRST.index(status.indication))


_WORST_FIRST = (MainIndication.TOTAL_FAILED, MainIndication.INDETERMINATE, MainIndication.TOTAL_PASSED)


def _find_failure(code: str, verdict: SignatureVerdict) -> str | None:
    """Return the sub-indication of TOTAL-FAILED; None if the validation did not end so."""
    if code == Cause.ALTERED:
        return "SIG_CRYPTO_FAILURE"
    if code == Cause.INCOMPLETE and not _lacks_elements(verdict):
        return "FORMAT_FAILURE"
    return "NOT_YET_VALID" if code == Cause.OUTSIDE_VALIDITY and _is_older_than_certificate(verdict) else None


def _is_older_than_certificate(verdict: SignatureVerdict) -> bool:
    """Return whether a time stamp proves that the signature existed before its certificate was valid."""
    time = verdict.validation_time
    path = () if verdict.trust is None else verdict.trust.path
    return time is not None and time.kind is ValidationTimeKind.PROVEN and bool(path) and time.at < path[0].not_before


def _find_sub_indication(code: str, verdict: SignatureVerdict) -> str:
    is_proven = verdict.validation_time is not None and verdict.validation_time.kind is ValidationTimeKind.PROVEN
    if code in (Cause.INCOMPLETE, Cause.HISTORIC):
        return "SIGNED_DATA_NOT_FOUND"
    if code == Cause.OUTSIDE_VALIDITY:
        return SUB_INDICATIONS[Reason.EXPIRED]
    if code == Cause.TIME_IN_FUTURE and is_proven:
        return "TIMESTAMP_ORDER_FAILURE"
    if code in (Cause.HASH_NOT_OFFERED, Cause.MAC_REFUSED, Reason.WEAK_HASH, Reason.WEAK_KEY):
        return f"CRYPTO_CONSTRAINTS_FAILURE{'' if is_proven else '_NO_POE'}"
    if code == Reason.REVOKED and verdict.trust is not None:
        is_signer = verdict.trust.path[0].revocation.state is Revocation.REVOKED
        return "REVOKED_NO_POE" if is_signer else "REVOKED_CA_NO_POE"
    if code in list(Reason):
        return SUB_INDICATIONS.get(Reason(code), CHAIN_GENERAL_FAILURE)
    return _CONSTRAINTS


def _lacks_elements(verdict: SignatureVerdict) -> bool:
    coverage = verdict.signature.coverage
    return coverage is not None and bool(coverage.missing)
