"""Verdicts for programs: the JSON of `hsm-dicom verify --json`, described in docs/json.md.

Objects are named by their UIDs; the patient's name and id are left out, since such output ends up in logs.
"""

from __future__ import annotations

from typing import Any

from hsm_dicom.cli.output import timestamp
from hsm_dicom.dataset.tags import format_path, format_tag
from hsm_dicom.signatures.coverage import Coverage
from hsm_dicom.signatures.timestamp import TimestampVerdict
from hsm_dicom.signatures.verdict import FileVerdict, SignatureVerdict
from hsm_dicom.trust import TrustVerdict

SCHEMA = "hsm-dicom/verify/1"


def file_json(verdict: FileVerdict) -> dict[str, Any]:
    """One file."""
    return {
        "file": verdict.name,
        "outcome": verdict.outcome.name.lower().replace("_", "-"),
        "exit_status": verdict.outcome.value,
        "text": verdict.text,
        "judged_at": timestamp(verdict.judged_at),
        "transfer_syntax": verdict.transfer_syntax or None,
        "study_instance_uid": verdict.identity.study_instance_uid or None,
        "series_instance_uid": verdict.identity.series_instance_uid or None,
        "sop_class_uid": verdict.identity.sop_class_uid or None,
        "sop_instance_uid": verdict.identity.sop_instance_uid or None,
        "signatures": [signature_json(one) for one in verdict.signatures],
        "unmet": list(verdict.unmet),
        "problem": verdict.problem or None,
    }


def signature_json(verdict: SignatureVerdict) -> dict[str, Any]:
    """One signature of a file."""
    signature = verdict.signature
    return {
        "uid": signature.uid,
        "verdict": verdict.word.value,
        "text": verdict.text,
        "grounds": [{"code": g.code, "clause": g.clause, "detail": g.detail or None} for g in verdict.grounds],
        "place": format_path(signature.place),
        "number": signature.number,
        "signer": verdict.signer or None,
        "trusted": verdict.trusted,
        "date_time": signature.date_time,
        "signed_at": timestamp(signature.signed_at) if signature.signed_at else None,
        "judged_as_of": (
            {"at": timestamp(verdict.moment.at), "kind": verdict.moment.kind.value} if verdict.moment else None
        ),
        "mac_algorithm": signature.mac_algorithm,
        "mac_transfer_syntax": signature.transfer_syntax,
        "purpose": (
            {
                "code": signature.purpose.code,
                "scheme": signature.purpose.scheme,
                "meaning": signature.purpose.meaning,
            }
            if signature.purpose
            else None
        ),
        "profiles": [profile.value for profile in signature.profiles],
        "coverage": _coverage(signature.coverage) if signature.coverage else None,
        "trust": _trust(verdict.trust) if verdict.trust else None,
        "timestamp": _timestamp(verdict.timestamp) if verdict.timestamp else None,
    }


def _coverage(covers: Coverage) -> dict[str, Any]:
    return {
        "signed": [format_tag(tag) for tag in covers.signed],
        "open": [format_tag(tag) for tag in covers.open],
        "unsignable": [format_tag(tag) for tag in covers.unsignable],
        "missing": [format_tag(tag) for tag in covers.missing],
        "private_open": [format_tag(tag) for tag in covers.private_open],
        "pixel_data": covers.pixel_data.value,
        "identity": {name: share.value for name, share in covers.identity},
        "character_set_open": covers.character_set_open,
    }


def _trust(trust: TrustVerdict) -> dict[str, Any]:
    return {
        "answer": trust.trust.value,
        "reason": trust.reason.value,
        "sentences": list(trust.sentences),
        "warnings": [{"caution": w.caution.value, "sentence": w.sentence} for w in trust.warnings],
        "path": [
            {
                "subject": step.subject,
                "issuer": step.issuer,
                "serial": f"{step.serial:x}",
                "not_before": timestamp(step.not_before),
                "not_after": timestamp(step.not_after),
                "key": step.key,
                "signature_hash": step.signature_hash,
                "sha256": step.sha256,
                "is_anchor": step.is_anchor,
                "revocation": step.revocation.state.value,
            }
            for step in trust.path
        ],
    }


def _timestamp(stamp: TimestampVerdict) -> dict[str, Any]:
    return {
        "finding": stamp.finding.value,
        "text": stamp.text,
        "time": timestamp(stamp.time) if stamp.time else None,
        "authority": stamp.authority,
        "policy": stamp.policy,
    }
