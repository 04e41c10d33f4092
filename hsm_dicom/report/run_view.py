"""The summary of a run, and its files in groups: what needs attention first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hsm_dicom.report.basis import describe_basis
from hsm_dicom.report.display import format_date, format_person_name
from hsm_dicom.report.looks import Look, Segment, list_looks, look, make_segments
from hsm_dicom.validation import PolicyValidator, find_all_unmet
from hsm_dicom.validation.policies.demands import Demand
from hsm_dicom.validation.validator import Outcome, Validator, Verdict

LISTED = 5
"""The number of signers, modalities and reasons that the summary names."""

_GOOD = (Outcome.GOOD, Outcome.EXEMPT)
_ABOUT_SIGNATURES = {"good", "but", "question"}


@dataclass(frozen=True)
class Row:
    """One file in the table of its group. `number` counts from 1 in the run."""

    number: int
    name: str
    patient: str
    study: str
    reason: str


@dataclass(frozen=True)
class Group:
    """The files with one look. `is_good` groups are folded."""

    look: Look
    rows: tuple[Row, ...]

    @property
    def is_good(self) -> bool:
        return self.look.is_good


@dataclass(frozen=True)
class Reason:
    """Why files are not good, with what to do, and how many files it concerns."""

    text: str
    remedy: str
    count: int


@dataclass(frozen=True)
class RunView:
    """The content of the page: the summary of a run, its groups of files, and what its verdicts rest on."""

    title: str
    kind: str
    sentence: str
    segments: tuple[Segment, ...]
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[Reason, ...]
    groups: tuple[Group, ...]
    grounds: tuple[tuple[str, tuple[str, ...]], ...]


def run_view(verdicts: Sequence[Verdict], validator: Validator | PolicyValidator) -> RunView:
    """Return the summary and the groups of a run."""
    looks = [look(verdict) for verdict in verdicts]
    good = sum(verdict.outcome in _GOOD for verdict in verdicts)
    title, kind = _find_title(looks, good)
    order = list_looks()
    return RunView(
        title=title,
        kind=kind,
        sentence=_describe_attention(len(verdicts), good),
        segments=make_segments([(one.kind, one.label, looks.count(one), one.anchor) for one in order]),
        facts=tuple(_list_facts(verdicts)),
        reasons=tuple(_list_reasons(verdicts)),
        groups=tuple(_make_groups(verdicts, looks)) if len(verdicts) > 1 else (),
        grounds=describe_basis(validator),
    )


def _find_title(looks: Sequence[Look], good: int) -> tuple[str, str]:
    total = len(looks)
    if total == 1:
        return looks[0].title, looks[0].kind
    if good == total:
        kind = "unsure" if not total else "but" if any(one.kind == "but" for one in looks) else "good"
        return f"All {total:,} files are valid" if total else "No file was validated", kind
    only_doubtful = {one.kind for one in looks} <= _ABOUT_SIGNATURES
    return f"{total - good:,} of {total:,} files are not valid", "question" if only_doubtful else "bad"


def _describe_attention(total: int, good: int) -> str:
    bad = total - good
    if total < 2:
        return ""
    if not bad:
        return "No file needs attention."
    can = f"{good:,} {'file' if good == 1 else 'files'} can be relied on" if good else "No file can be relied on"
    return f"{can}; {bad:,} {'needs' if bad == 1 else 'need'} attention."


def _list_facts(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    """Yield what was validated, for somebody who does not know the files."""
    identities = [verdict.identity for verdict in verdicts if not verdict.problem]
    if len(verdicts) < 2 or not identities:
        return
    patients = {(one.patient_id, one.patient_name) for one in identities if one.patient_id or one.patient_name}
    studies = {one.study_instance_uid for one in identities if one.study_instance_uid}
    yield "Patients and studies", f"{_count(len(patients), 'patient')}, {_count(len(studies), 'study', 'studies')}"
    yield "Modalities", _tally(one.modality for one in identities)
    dates = sorted(date for one in identities if len(date := format_date(one.study_date)) == 10)
    if dates:
        yield "Study dates", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    trusted = (one.signer for verdict in verdicts for one in verdict.signatures if one.trusted and one.signer)
    signers = _tally(trusted)
    if signers:
        yield "Trusted signers", signers


def _list_reasons(verdicts: Sequence[Verdict]) -> Iterator[Reason]:
    """Yield the most frequent reasons why files are not good, with the sentence that is most frequent for each."""
    if len(verdicts) < 2:
        return
    files: Counter[str] = Counter()
    texts: dict[str, Counter[tuple[str, str]]] = {}
    for verdict in verdicts:
        unmet = {str(one.code): (one.text, one.remedy) for one in find_all_unmet(verdict)}
        if len(unmet) > 1:
            unmet.pop(Demand.NO_VALID_SIGNATURE, None)  # the others say why there is none
        files.update(unmet.keys())
        for code, words in unmet.items():
            texts.setdefault(code, Counter())[words] += 1
    for code, count in files.most_common(LISTED):
        (text, remedy), _ = texts[code].most_common(1)[0]
        yield Reason(text, remedy, count)


def _make_groups(verdicts: Sequence[Verdict], looks: Sequence[Look]) -> Iterator[Group]:
    for one in list_looks():
        numbers = [number for number, found in enumerate(looks) if found == one]
        if numbers:
            yield Group(one, tuple(_make_row(number, verdicts[number]) for number in numbers))


def _make_row(number: int, verdict: Verdict) -> Row:
    identity = verdict.identity
    return Row(
        number=number + 1,
        name=verdict.name,
        patient=format_person_name(identity.patient_name) or identity.patient_id,
        study=" ".join(filter(None, (identity.modality, format_date(identity.study_date)))),
        reason="" if verdict.outcome in (*_GOOD, Outcome.NO_SIGNATURE) else verdict.problem or verdict.text,
    )


def _tally(values: Iterable[str]) -> str:
    counts = Counter(value for value in values if value)
    shown = [f"{value} ({count:,})" for value, count in counts.most_common(LISTED)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
