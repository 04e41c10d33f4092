"""Content of the page: texts, shares and pictures of verdicts, so that the template needs no logic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hsm_dicom.dataset.tags import describe_tag, format_path
from hsm_dicom.report.chain_picture import ChainPicture, chain_picture
from hsm_dicom.report.display import format_date, format_person_name
from hsm_dicom.report.looks import Look, Segment, look, make_segments
from hsm_dicom.signatures.coverage.shares import Coverage, Share
from hsm_dicom.signatures.integrity import VerifiedSignature
from hsm_dicom.validation.result import UnmetDemand, format_time
from hsm_dicom.validation.validator import Indication, Outcome, SignatureVerdict, ValidationTimeKind, Verdict

KINDS = {
    Indication.VALID: "good",
    Indication.VALID_BUT: "but",
    Indication.QUESTIONABLE: "question",
    Indication.INVALID: "bad",
    Indication.INDETERMINATE: "unsure",
    Indication.HISTORIC: "historic",
}
"""Look of each indication: an icon and a colour, never a colour alone."""


_SHARES = {
    Share.COVERED: ("good", "covered"),
    Share.EMPTY: ("neutral", "covered, empty"),
    Share.ABSENT: ("neutral", "not in the object"),
    Share.NOT_COVERED: ("bad", "not covered"),
}


@dataclass(frozen=True)
class ElementList:
    """Names of elements, with a heading."""

    kind: str
    heading: str
    elements: tuple[str, ...]


@dataclass(frozen=True)
class SignatureView:
    """One signature as the page shows it.

    `facts` are names and values; `chips` look, name and state; `chains` heading, picture and words.
    """

    verdict: SignatureVerdict
    kind: str
    head: str
    facts: tuple[tuple[str, str], ...]
    segments: tuple[Segment, ...]
    coverage_text: str
    chips: tuple[tuple[str, str, str], ...]
    lists: tuple[ElementList, ...]
    chains: tuple[tuple[str, ChainPicture, str], ...]


@dataclass(frozen=True)
class FileView:
    """One file as the page shows it."""

    number: int
    folder: str
    name: str
    verdict: Verdict
    look: Look
    sentence: str
    facts: tuple[tuple[str, str], ...]
    pixels_protected: bool
    seal: str
    unmet: tuple[UnmetDemand, ...]
    signatures: tuple[SignatureView, ...]


def file_view(number: int, verdict: Verdict) -> FileView:
    """One file."""
    identity = verdict.identity
    protected = any(map(_protects_picture, verdict.signatures))
    folder, slash, name = verdict.name.rpartition("/")
    rows = (
        (
            "Patient",
            _join(
                format_person_name(identity.patient_name), identity.patient_id, format_date(identity.patient_birth_date)
            ),
        ),
        ("Study", _join(identity.modality, format_date(identity.study_date))),
        ("SOP Class", uid_name(identity.sop_class_uid)),
        ("SOP Instance UID", identity.sop_instance_uid),
        ("Transfer Syntax", uid_name(verdict.transfer_syntax)),
    )
    return FileView(
        number=number,
        folder=folder + slash,
        name=name,
        verdict=verdict,
        look=look(verdict),
        sentence=_sentence(verdict),
        facts=tuple((name, value) for name, value in rows if value),
        pixels_protected=protected,
        seal="good" if protected else "question" if verdict.outcome is Outcome.QUESTIONABLE else "bad",
        unmet=verdict.unmet,
        signatures=tuple(map(signature_view, verdict.signatures)),
    )


def _protects_picture(verdict: SignatureVerdict) -> bool:
    covers = verdict.signature.coverage
    if covers is None or verdict.signature.place or not verdict.indication.good:
        return False
    return covers.pixel_data is Share.COVERED and covers.picture is Share.COVERED


def _sentence(verdict: Verdict) -> str:
    """Return the text about a file in addition to its only signature, and to what the policy demands of it."""
    if len(verdict.signatures) != 1 or verdict.outcome in (Outcome.NO_SIGNATURE, Outcome.EXEMPT):
        return verdict.text
    return ""


def signature_view(verdict: SignatureVerdict) -> SignatureView:
    """Return the view of one signature."""
    covers, good = verdict.signature.coverage, verdict.protects
    return SignatureView(
        verdict=verdict,
        kind=KINDS[verdict.indication],
        head=_head(verdict),
        facts=tuple((name, value) for name, value in _facts(verdict) if value),
        segments=_coverage_segments(covers, good=good) if covers else (),
        coverage_text=_coverage_text(covers, verdict) if covers else "",
        chips=_chips(covers, good=good) if covers else (),
        lists=_lists(covers, good=good) if covers else (),
        chains=tuple(_chains(verdict)),
    )


def _head(verdict: SignatureVerdict) -> str:
    """Return the verdict without its grounds, which the page lists below."""
    joint = {Indication.VALID: "", Indication.VALID_BUT: ", but"}.get(verdict.indication, ", because")
    head = verdict.text.partition(joint)[0] if joint else verdict.text
    return head.capitalize() + joint


def _facts(verdict: SignatureVerdict) -> list[tuple[str, str]]:
    found = verdict.signature
    signer = verdict.signer or "no readable certificate"
    return [
        ("Signed by", signer if verdict.trusted else f"{signer}, {'not trusted' if found.intact else 'not proven'}"),
        ("Signed at", _time(verdict)),
        ("Place", format_path(found.place) or "the whole object"),
        ("Meets the profiles", _profiles(found)),
        ("Purpose", str(found.purpose) if found.purpose else ""),
        ("MAC", found.mac_algorithm),
        ("Signature UID", found.uid),
    ]


def _profiles(found: VerifiedSignature) -> str:
    if not found.intact:
        return ""
    return ", ".join(profile.value for profile in found.profiles) or "none of PS3.15 Annex C"


def _time(verdict: SignatureVerdict) -> str:
    validated, claimed = verdict.validation_time, verdict.signature.signed_at
    if validated is None or validated.kind is ValidationTimeKind.PRESENT:
        return f"{format_time(claimed)}, not proven" if claimed else "no usable time"
    if validated.kind is ValidationTimeKind.CLAIMED:
        return f"{format_time(validated.at)}, by the signer's own clock"
    authority = verdict.timestamp.authority if verdict.timestamp else None
    return f"{format_time(validated.at)}, proven by a time stamp of {authority}" + (
        f" (claimed: {format_time(claimed)})" if claimed else ""
    )


def _chains(verdict: SignatureVerdict) -> Iterator[tuple[str, ChainPicture, str]]:
    """Yield heading, picture and text of the validated chains: the signer's and the time stamp authority's."""
    stamp = verdict.timestamp.trust if verdict.timestamp else None
    for heading, trust in (("Who vouches for the signer", verdict.trust), ("Who vouches for the time", stamp)):
        picture = chain_picture(trust) if trust is not None else None
        if trust is not None and picture is not None:
            yield heading, picture, trust.text


def _coverage_segments(covers: Coverage, *, good: bool) -> tuple[Segment, ...]:
    private = set(covers.private_open)
    counted = [
        ("good", "covered", len(covers.signed)) if good else ("neutral", "listed", len(covers.signed)),
        ("but", "not covered", len([tag for tag in covers.open if tag not in private])),
        ("private", "private, not covered", len(private)),
        ("unsure", "of unknown VR", len([tag for tag in covers.unsignable if tag not in private])),
        ("bad", "gone", len(covers.missing)),
    ]
    return make_segments([(*one, "") for one in counted])


def _coverage_text(covers: Coverage, verdict: SignatureVerdict) -> str:
    there = len(covers.signed) + len(covers.open) + len(covers.unsignable)
    counted = f"all {there}" if len(covers.signed) == there else f"{len(covers.signed)} of {there}"
    if verdict.protects:
        return f"{counted[0].upper()}{counted[1:]} elements are covered"
    if verdict.indication is Indication.QUESTIONABLE:
        return f"It lists {counted} elements, which may not be what was signed"
    return f"It lists {counted} elements, and protects none of them as it is not valid"


def _chips(covers: Coverage, *, good: bool) -> tuple[tuple[str, str, str], ...]:
    parts = [("picture", covers.picture), ("geometry", covers.geometry), ("content", covers.content)]
    there = [(name, share) for name, share in parts if share is not Share.ABSENT]
    shares = [("pixel data", covers.pixel_data), *there, *covers.identity]
    looks = _SHARES if good else _SHARES | {Share.COVERED: ("neutral", "listed")}
    chips = [(looks[share][0], name, looks[share][1]) for name, share in shares]
    if covers.character_set_open:
        chips.append(("bad", "Specific Character Set", "not covered"))
    return tuple(chips)


def _lists(covers: Coverage, *, good: bool) -> tuple[ElementList, ...]:
    lists = (
        ("bad", "gone", covers.missing),
        ("but", "not covered", covers.open),
        ("unsure", "that no signature can cover", covers.unsignable),
        ("good", "covered", covers.signed) if good else ("neutral", "listed", covers.signed),
    )
    return tuple(
        ElementList(kind, f"{len(tags)} {'element' if len(tags) == 1 else 'elements'} {words}", _describe(tags))
        for kind, words, tags in lists
        if tags
    )


def _describe(tags: Sequence[int]) -> tuple[str, ...]:
    return tuple(map(describe_tag, tags))


def uid_name(uid: str) -> str:
    """Return the name of a UID in PS3.6, or the UID itself."""
    from hsm_dicom.dataset._pydicom import load_registered_uids

    known = load_registered_uids().get(uid)
    return known.name if known else uid


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
