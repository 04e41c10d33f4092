"""What the page shows, prepared: verdicts turned into texts, shares and pictures, so that the template only places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hsm_dicom.dataset.tags import describe_tag, format_path
from hsm_dicom.signatures.coverage import Coverage, Share
from hsm_dicom.signatures.policy import Requirement, VerificationPolicy
from hsm_dicom.signatures.report.chain_picture import ChainPicture, chain_picture
from hsm_dicom.signatures.verdict import FileVerdict, Judge, MomentKind, Outcome, SignatureVerdict, Word
from hsm_dicom.signatures.verdict_words import shown
from hsm_dicom.trust import RevocationPolicy, TrustStore
from hsm_dicom.trust.certificates import fingerprint, name_text

_GAP = 3
"""Thousandths between the segments of a bar."""

KINDS = {
    Word.VALID: "good",
    Word.VALID_BUT: "but",
    Word.INVALID: "bad",
    Word.CANNOT_TELL: "unsure",
    Word.HISTORIC: "historic",
}
"""The look of each word: an icon and a colour, never the colour alone."""

OUTCOMES = {
    Outcome.GOOD: ("good", "good"),
    Outcome.SIGNATURE_FAILED: ("bad", "signature failed"),
    Outcome.POLICY_NOT_MET: ("but", "policy not met"),
    Outcome.NO_SIGNATURE: ("unsure", "not signed"),
    Outcome.UNREADABLE: ("bad", "unreadable"),
}
"""The look of each outcome of a file, and what it is called."""

_SHARES = {
    Share.COVERED: ("good", "covered"),
    Share.EMPTY: ("historic", "covered, empty"),
    Share.ABSENT: ("historic", "not in the object"),
    Share.NOT_COVERED: ("bad", "not covered"),
}


@dataclass(frozen=True)
class Segment:
    """A part of the bar: `left` and `width` in thousandths of it."""

    kind: str
    label: str
    count: int
    left: float
    width: float


@dataclass(frozen=True)
class ElementList:
    """Elements by name, under a heading."""

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
    verdict: FileVerdict
    kind: str
    outcome: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    pixels_protected: bool
    signatures: tuple[SignatureView, ...]


@dataclass(frozen=True)
class RunView:
    """What the whole page says: counts by outcome, and what was judged by."""

    title: str
    kind: str
    segments: tuple[Segment, ...]
    grounds: tuple[tuple[str, tuple[str, ...]], ...]


def run_view(verdicts: Sequence[FileVerdict], judge: Judge) -> RunView:
    """The head of the page."""
    outcomes = [verdict.outcome for verdict in verdicts]
    good, total = outcomes.count(Outcome.GOOD), len(outcomes)
    counted = [(*OUTCOMES[outcome], outcomes.count(outcome)) for outcome in OUTCOMES if outcome in outcomes]
    if not total:
        title = "No file was judged"
    elif good == total:
        title = "The file is good" if total == 1 else f"All {total} files are good"
    else:
        title = "The file is not good" if total == 1 else f"{total - good} of {total} files are not good"
    return RunView(
        title=title,
        kind="good" if total and good == total else "bad",
        segments=_segments(counted),
        grounds=(
            ("Trust anchors for signers", _anchors(judge.signers.store)),
            ("Trust anchors for time stamps", _anchors(judge.stampers.store)),
            ("Revocation data", (_revocation_data(judge.signers.store),)),
            ("Policy", tuple(policy_words(judge.policy))),
        ),
    )


def policy_words(policy: VerificationPolicy) -> list[str]:
    """A policy in sentences."""
    asked = [f"A signature that meets: {one}." for one in sorted(policy.require - {Requirement.TIMESTAMP})]
    asked += ["A certified time stamp."] if Requirement.TIMESTAMP in policy.require else []
    asked += [f"Covered: {part}." for part in sorted(policy.cover)]
    weak = sorted(policy.weak_mac_algorithms - policy.mac_algorithms)
    advised = policy.trust.algorithms.advised_rsa_bits
    return [
        *(asked or ["Nothing is demanded of a file but that its signatures hold."]),
        f"MAC algorithms: {', '.join(sorted(policy.mac_algorithms)) or 'none'}"
        + (f"; with a warning: {', '.join(weak)}." if weak else "."),
        f"RSA keys from {policy.minimum_rsa_bits} bits, with a warning below {advised}.",
        _REVOCATION_WORDS[policy.revocation],
    ]


_REVOCATION_WORDS = {
    RevocationPolicy.WHEN_GIVEN: "Revocation: checked as soon as there is data; without any, a warning.",
    RevocationPolicy.REQUIRED: "Revocation: without data no signature is valid.",
    RevocationPolicy.IF_AVAILABLE: "Revocation: checked where there is data; else a warning.",
}


def file_view(number: int, verdict: FileVerdict) -> FileView:
    """One file."""
    identity = verdict.identity
    kind, outcome = OUTCOMES[verdict.outcome]
    folder, slash, name = verdict.name.rpartition("/")
    rows = (
        ("Patient", _joined(identity.patient_name, identity.patient_id, _date(identity.patient_birth_date))),
        ("Study", _joined(identity.modality, _date(identity.study_date))),
        ("SOP Class", uid_name(identity.sop_class_uid)),
        ("SOP Instance UID", identity.sop_instance_uid),
        ("Transfer Syntax", uid_name(verdict.transfer_syntax)),
    )
    return FileView(
        number=number,
        folder=folder + slash,
        name=name,
        verdict=verdict,
        kind=kind,
        outcome=outcome,
        sentences=verdict.unmet if len(verdict.signatures) == 1 else (verdict.text,),
        facts=tuple((name, value) for name, value in rows if value),
        pixels_protected=any(
            one.word.good
            and not one.signature.place
            and one.signature.coverage is not None
            and one.signature.coverage.pixel_data is Share.COVERED
            for one in verdict.signatures
        ),
        signatures=tuple(map(signature_view, verdict.signatures)),
    )


def signature_view(verdict: SignatureVerdict) -> SignatureView:
    """One signature."""
    covers = verdict.signature.coverage
    return SignatureView(
        verdict=verdict,
        kind=KINDS[verdict.word],
        head=_head(verdict),
        facts=tuple((name, value) for name, value in _facts(verdict) if value),
        segments=_coverage_segments(covers) if covers else (),
        coverage_text=_coverage_text(covers) if covers else "",
        chips=_chips(covers) if covers else (),
        lists=_lists(covers) if covers else (),
        chains=tuple(_chains(verdict)),
    )


def _head(verdict: SignatureVerdict) -> str:
    """The verdict up to its grounds, which the page lists below."""
    joint = {Word.VALID: "", Word.VALID_BUT: ", but"}.get(verdict.word, ", because")
    head = verdict.text.partition(joint)[0] if joint else verdict.text
    return head.capitalize() + joint


def _facts(verdict: SignatureVerdict) -> list[tuple[str, str]]:
    found = verdict.signature
    signer = verdict.signer or "no readable certificate"
    return [
        ("Signed by", signer if verdict.trusted else f"{signer} (by its own word)"),
        ("Signed at", _time(verdict)),
        ("Place", format_path(found.place) or "the whole object"),
        ("Meets the profiles", ", ".join(profile.value for profile in found.profiles) or "none of PS3.15 Annex C"),
        ("Purpose", str(found.purpose) if found.purpose else ""),
        ("MAC", found.mac_algorithm),
        ("Signature UID", found.uid),
    ]


def _time(verdict: SignatureVerdict) -> str:
    moment, claimed = verdict.moment, verdict.signature.signed_at
    if moment is None or moment.kind is MomentKind.PRESENT:
        return f"{shown(claimed)}, by its own word" if claimed else "no usable time"
    if moment.kind is MomentKind.CLAIMED:
        return f"{shown(moment.at)}, by the signer's own clock"
    authority = verdict.timestamp.authority if verdict.timestamp else None
    return f"{shown(moment.at)}, certified by {authority}" + (f" (claimed: {shown(claimed)})" if claimed else "")


def _chains(verdict: SignatureVerdict) -> Iterator[tuple[str, ChainPicture, str]]:
    """Headings, pictures and words of the chains that were judged: the signer's and the time stamp authority's."""
    stamp = verdict.timestamp.trust if verdict.timestamp else None
    for heading, trust in (("Who vouches for the signer", verdict.trust), ("Who vouches for the time", stamp)):
        picture = chain_picture(trust) if trust is not None else None
        if trust is not None and picture is not None:
            yield heading, picture, trust.text


def _coverage_segments(covers: Coverage) -> tuple[Segment, ...]:
    private = set(covers.private_open)
    return _segments(
        [
            ("good", "covered", len(covers.signed)),
            ("but", "not covered", len([tag for tag in covers.open if tag not in private])),
            ("private", "private, not covered", len(private)),
            ("unsure", "of unknown VR", len([tag for tag in covers.unsignable if tag not in private])),
            ("bad", "gone", len(covers.missing)),
        ]
    )


def _segments(counted: Sequence[tuple[str, str, int]]) -> tuple[Segment, ...]:
    total = sum(count for _, _, count in counted)
    segments, left = [], 0.0
    for kind, label, count in counted:
        if count:
            width = 1000 * count / total
            segments.append(Segment(kind, label, count, round(left, 2), round(max(width - _GAP, 1), 2)))
            left += width
    return tuple(segments)


def _coverage_text(covers: Coverage) -> str:
    there = len(covers.signed) + len(covers.open) + len(covers.unsignable)
    if len(covers.signed) == there:
        return f"All {there} elements are covered"
    return f"{len(covers.signed)} of {there} elements are covered"


def _chips(covers: Coverage) -> tuple[tuple[str, str, str], ...]:
    chips = [("pixel data", covers.pixel_data), *covers.identity]
    shown_chips = [(_SHARES[share][0], name, _SHARES[share][1]) for name, share in chips]
    if covers.character_set_open:
        shown_chips.append(("bad", "Specific Character Set", "not covered"))
    return tuple(shown_chips)


def _lists(covers: Coverage) -> tuple[ElementList, ...]:
    lists = (
        ("bad", "gone", covers.missing),
        ("but", "not covered", covers.open),
        ("unsure", "that no signature can cover", covers.unsignable),
        ("good", "covered", covers.signed),
    )
    return tuple(
        ElementList(kind, f"{len(tags)} {'element' if len(tags) == 1 else 'elements'} {words}", _described(tags))
        for kind, words, tags in lists
        if tags
    )


def _described(tags: Sequence[int]) -> tuple[str, ...]:
    return tuple(map(describe_tag, tags))


def _anchors(store: TrustStore) -> tuple[str, ...]:
    anchors = [f"{name_text(one.subject)}, SHA-256 {fingerprint(one).hex()}" for one in store.anchors]
    return tuple(anchors) or ("None was given.",)


def _revocation_data(store: TrustStore) -> str:
    crls, responses = len(store.crls), len(store.ocsp_responses)
    if not crls and not responses:
        return "None was given."
    return f"{crls} CRL{'' if crls == 1 else 's'}, {responses} OCSP response{'' if responses == 1 else 's'}."


def uid_name(uid: str) -> str:
    """The name of a UID in PS3.6, or the UID itself."""
    from pydicom._uid_dict import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else uid


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if re.fullmatch(r"\d{8}", value, re.ASCII) else value
