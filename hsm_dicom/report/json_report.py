"""Verdicts as JSON, one object for each file: the schema hsm-dicom/verify/2, see docs/reference/json-verify.md.

Members have a fixed order and are always present; those that do not apply are null or empty. Times are in UTC (RFC
3339), to the second. Objects are identified by their UIDs: the patient's name and identifier are omitted, since such
output is often logged. The output is ASCII only, so that a line is safe to print.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hsm_dicom.dataset.tags import describe_tag, format_path
from hsm_dicom.signatures.coverage.shares import Coverage
from hsm_dicom.timestamps.validation import TimestampVerdict
from hsm_dicom.trust import PathCertificate, TrustVerdict
from hsm_dicom.validation.etsi import EtsiStatus, find_etsi_status, find_etsi_status_of_object
from hsm_dicom.validation.policies.unmet import find_all_unmet
from hsm_dicom.validation.remedies import find_remedy
from hsm_dicom.validation.result import Ground
from hsm_dicom.validation.validator import SignatureVerdict, Verdict

SCHEMA = "hsm-dicom/verify/2"


def json_line(verdict: Verdict) -> str:
    """Return the verdict as one line, without a line break."""
    return json.dumps(as_json(verdict))


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as a dictionary for JSON."""
    identity = verdict.identity
    return {
        "schema": SCHEMA,
        "file": verdict.name,
        "outcome": verdict.outcome.value,
        "exit_status": verdict.outcome.exit_status,
        "text": verdict.text,
        "validated_at": _utc(verdict.validated_at),
        "resume_key": verdict.resume_key or None,
        "problem": verdict.problem or None,
        "unmet_requirements": [one.text for one in verdict.unmet],
        "policy": verdict.policy or None,
        "rule": verdict.rule or None,
        "unmet": [
            {"code": one.code, "text": one.text, "remedy": one.remedy or None} for one in find_all_unmet(verdict)
        ],
        "etsi": _etsi(find_etsi_status_of_object(verdict)),
        "sop_class_uid": identity.sop_class_uid or None,
        "sop_instance_uid": identity.sop_instance_uid or None,
        "series_instance_uid": identity.series_instance_uid or None,
        "study_instance_uid": identity.study_instance_uid or None,
        "modality": identity.modality or None,
        "transfer_syntax": verdict.transfer_syntax or None,
        "signatures": [_signature(one) for one in verdict.signatures],
    }


def _signature(verdict: SignatureVerdict) -> dict[str, Any]:
    found = verdict.signature
    purpose, validated = found.purpose, verdict.validation_time
    return {
        "uid": found.uid or None,
        "item_path": format_path(found.place),
        "number": found.number,
        "verdict": verdict.indication.code,
        "text": verdict.text,
        "etsi": _etsi(find_etsi_status(verdict)),
        "grounds": [_ground(ground) for ground in verdict.grounds],
        "integrity": found.finding.value,
        "signer": verdict.signer or None,
        "trusted": verdict.trusted,
        "date_time": found.date_time or None,
        "signed_at": _utc(found.signed_at) if found.signed_at else None,
        "validation_time": {"at": _utc(validated.at), "kind": validated.kind.value} if validated else None,
        "mac_algorithm": found.mac_algorithm or None,
        "mac_transfer_syntax": found.transfer_syntax or None,
        "purpose": {"code": purpose.code, "scheme": purpose.scheme, "meaning": purpose.meaning} if purpose else None,
        "profiles": [profile.value for profile in found.profiles],
        "coverage": _coverage(found.coverage) if found.coverage else None,
        "trust": _trust(verdict.trust) if verdict.trust else None,
        "timestamp": _timestamp(verdict.timestamp) if verdict.timestamp else None,
    }


def _etsi(status: EtsiStatus | None) -> dict[str, Any] | None:
    return status and {"indication": status.indication.value, "sub_indication": status.sub_indication}


def _ground(ground: Ground) -> dict[str, Any]:
    return {
        "code": ground.code,
        "clause": ground.clause,
        "detail": ground.detail or None,
        "remedy": find_remedy(ground.code) or None,
    }


def _coverage(covers: Coverage) -> dict[str, Any]:
    return {
        "signed": _elements(covers.signed),
        "unsigned": _elements(covers.open),
        "unsignable": _elements(covers.unsignable),
        "missing": _elements(covers.missing),
        "private_unsigned": _elements(covers.private_open),
        "pixel_data": covers.pixel_data.value,
        "picture": covers.picture.value,
        "geometry": covers.geometry.value,
        "content": covers.content.value,
        "identity": {name: share.value for name, share in covers.identity},
        "character_set_unsigned": covers.character_set_open,
    }


def _elements(tags: Iterable[int]) -> list[str]:
    return [describe_tag(tag) for tag in tags]


def _trust(trust: TrustVerdict) -> dict[str, Any]:
    return {
        "answer": trust.trust.value,
        "reason": trust.reason.value,
        "sub_indication": trust.sub_indication,
        "text": trust.text,
        "warnings": [{"code": one.caution.value, "text": one.text} for one in trust.warnings],
        "path": [_certificate(one) for one in trust.path],
    }


def _certificate(certificate: PathCertificate) -> dict[str, Any]:
    revocation = certificate.revocation
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": f"{certificate.serial:x}",
        "not_before": _utc(certificate.not_before),
        "not_after": _utc(certificate.not_after),
        "key": certificate.key,
        "signature_hash": certificate.signature_hash,
        "sha256": certificate.sha256,
        "is_anchor": certificate.is_anchor,
        "revocation": {
            "state": revocation.state.value,
            "text": revocation.text,
            "source": revocation.source,
            "revoked_at": _utc(revocation.revoked_at) if revocation.revoked_at else None,
            "reason": revocation.reason,
        },
    }


def _timestamp(stamp: TimestampVerdict) -> dict[str, Any]:
    return {
        "answer": stamp.finding.value,
        "text": stamp.text,
        "time": _utc(stamp.time) if stamp.time else None,
        "accuracy_seconds": stamp.accuracy.total_seconds() if stamp.accuracy is not None else None,
        "authority": stamp.authority,
        "policy": stamp.policy,
        "serial": f"{stamp.serial:x}" if stamp.serial is not None else None,
        "hash": stamp.hash_name,
        "trust": _trust(stamp.trust) if stamp.trust else None,
    }


def _utc(time: datetime) -> str:
    try:
        time = time.astimezone(UTC)
    except OverflowError:  # a claimed time in the first or last hours that datetime knows
        time = (datetime.min if time.year == 1 else datetime.max).replace(tzinfo=UTC)
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
