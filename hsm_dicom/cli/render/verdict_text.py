"""Verdicts as text for people: a block or a line for each file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.output import shown
from hsm_dicom.dataset.tags import format_path
from hsm_dicom.report.display import format_date, format_person_name
from hsm_dicom.signatures.coverage.shares import Coverage, Share
from hsm_dicom.validation.coverage import list_names
from hsm_dicom.validation.policies.demands import Demand
from hsm_dicom.validation.remedies import UNSIGNED, find_remedy
from hsm_dicom.validation.result import UnmetDemand
from hsm_dicom.validation.validator import (
    Cause,
    Ground,
    Indication,
    Outcome,
    SignatureVerdict,
    ValidationTime,
    ValidationTimeKind,
    Verdict,
)

_STYLES = {
    Indication.VALID: output.GOOD,
    Indication.VALID_BUT: output.GOOD,
    Indication.QUESTIONABLE: output.UNSURE,
    Indication.INVALID: output.BAD,
    Indication.INDETERMINATE: output.UNSURE,
    Indication.HISTORIC: output.QUIET,
}
_SIGNS = {Indication.QUESTIONABLE: "!", Indication.INDETERMINATE: "?"}
"""Signs of the indications that are neither good nor bad, readable without colour."""
_KINDS = {
    ValidationTimeKind.PROVEN: "proven by a time stamp",
    ValidationTimeKind.CLAIMED: "by the signer's clock",
    ValidationTimeKind.PRESENT: "now, as it states no time",
}


def print_line(verdict: Verdict) -> None:
    """Print a file and its verdicts on one line."""
    texts = "; ".join(shown(one.text) for one in verdict.signatures if one.indication is not Indication.HISTORIC)
    text = texts or verdict.text
    unmet = " ".join(map(str, _list_demands(verdict)))
    if texts and unmet:
        text += "."
    sign = (_SIGNS[Indication.QUESTIONABLE], output.UNSURE) if verdict.outcome is Outcome.QUESTIONABLE else None
    good = verdict.outcome in (Outcome.GOOD, Outcome.EXEMPT)
    output.result(good, f"{shown(verdict.name)}: {' '.join((text, unmet)).rstrip()}", sign=sign)


def print_block(verdict: Verdict) -> None:
    """Print a file, the patient and study of its object, and each signature with all details."""
    output.say_verbatim(shown(verdict.name), style="bold")
    whose = " · ".join(_object(verdict))
    if whose:
        output.say((whose, output.QUIET), indent=2)
    for one in verdict.signatures:
        _print_signature(one)
    if verdict.outcome is Outcome.EXEMPT:
        output.outcome(True, shown(verdict.text), indent=2)
    if verdict.outcome is Outcome.NO_SIGNATURE:
        output.outcome(False, shown(verdict.text), indent=2)
        if verdict.unmet:
            output.say((shown(find_remedy(UNSIGNED)), output.QUIET), indent=4)
    for demand in _list_demands(verdict):
        output.outcome(False, shown(f"The policy is not met: {demand.text}"), indent=2)
        output.say((shown(demand.remedy), output.QUIET), indent=4)


def _list_demands(verdict: Verdict) -> list[UnmetDemand]:
    """Return the demands that are not met, without the one that an unsigned object has no valid signature."""
    is_unsigned = verdict.outcome is Outcome.NO_SIGNATURE
    return [one for one in verdict.unmet if not (is_unsigned and one.code == Demand.NO_VALID_SIGNATURE)]


def _print_signature(verdict: SignatureVerdict) -> None:
    sign = _SIGNS.get(verdict.indication) or output.mark(verdict.indication.good)[0]
    output.say((f"{sign} {shown(verdict.text)}", _STYLES[verdict.indication]), indent=2, hang=2)
    output.facts(_signature_rows(verdict), indent=4)


def _signature_rows(verdict: SignatureVerdict) -> Iterator[tuple[str, str]]:
    signature = verdict.signature
    yield "signature", shown(signature.uid) or "(no UID)"
    trusted = "trusted" if verdict.trusted else "not proven"
    yield "signer", f"{shown(verdict.signer) or 'unknown'} ({trusted})"
    if verdict.trusted and verdict.trust is not None and len(verdict.trust.path) > 1:
        yield "issued by", " ← ".join(shown(step.subject) for step in verdict.trust.path[1:])
    yield from _time_row(verdict)
    yield "place", shown(format_path(signature.place)) or "the whole object"
    yield "hash", shown(signature.mac_algorithm) or "unknown"
    if signature.purpose is not None:
        yield "purpose", shown(str(signature.purpose))
    if signature.profiles:
        yield "meets", ", ".join(profile.value for profile in signature.profiles)
    if signature.coverage is not None:
        yield from _coverage_rows(signature.coverage, proven=verdict.protects)
    notes = (f"{ground.detail} {_remedy(verdict, ground)}".strip() for ground in verdict.grounds)
    for note in filter(None, dict.fromkeys(notes)):
        yield "note", shown(note)


def _remedy(verdict: SignatureVerdict, ground: Ground) -> str:
    """Return what to do about a ground; of valid signatures only where something was not given."""
    is_asked = not verdict.indication.good or ground.code == Cause.TIMESTAMP_NOT_VALIDATED
    return find_remedy(ground.code) if is_asked else ""


def _time_row(verdict: SignatureVerdict) -> Iterator[tuple[str, str]]:
    signature = verdict.signature
    validated = verdict.validation_time
    if validated is None and signature.signed_at is not None:
        validated = ValidationTime(signature.signed_at, ValidationTimeKind.CLAIMED)
    if validated is not None:
        yield "time", f"{validated.at:%Y-%m-%d %H:%M:%S %Z}, {_KINDS[validated.kind]}"
    elif signature.date_time:
        yield "time", f"{shown(signature.date_time)} (cannot be understood)"


def _coverage_rows(covers: Coverage, *, proven: bool) -> Iterator[tuple[str, str]]:
    parts = [("picture", covers.picture), ("geometry", covers.geometry), ("content", covers.content)]
    shares = [("pixel data", covers.pixel_data), *parts, *covers.identity]
    inside = [name if share is Share.COVERED else f"{name} (empty)" for name, share in shares if share in _INSIDE]
    outside = [name for name, share in shares if share is Share.NOT_COVERED]
    # If the signature is not valid, the list is only a claim.
    yield "covers" if proven else "lists", ", ".join([output.count(len(covers.signed), "element"), *inside])
    if outside:
        yield "not covered", ", ".join(outside)
    for title, tags in (("open", covers.open), ("unsignable", covers.unsignable), ("missing", covers.missing)):
        if tags:
            yield title, _elements(tags)


_INSIDE = (Share.COVERED, Share.EMPTY)


def _elements(tags: Sequence[int]) -> str:
    return f"{output.count(len(tags), 'element')}: {list_names(tags, limit=6)}"


def _object(verdict: Verdict) -> Iterator[str]:
    """Yield the patient, modality and date of the object, from the bytes that the signatures were checked against."""
    identity = verdict.identity
    if identity.patient_name or identity.patient_id:
        patient = f"{shown(format_person_name(identity.patient_name))} ({shown(identity.patient_id)})"
        yield patient.strip().removesuffix(" ()")
    if identity.modality:
        yield shown(identity.modality)
    if identity.study_date:
        yield shown(format_date(identity.study_date))
