"""A run of `hsm-dicom verify`: print each verdict at once, as a block, a line or JSON."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from hsm_dicom.cli import exits
from hsm_dicom.cli.errors import sentence
from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.verdict_text import print_block, print_line
from hsm_dicom.dataset.dicom_file import file_state
from hsm_dicom.dataset.folders import FolderError
from hsm_dicom.errors import DicomError
from hsm_dicom.report import SCHEMA, json_line, write_html
from hsm_dicom.report.basis import list_subjects
from hsm_dicom.signatures import VerifiedFile, check_files, dump_macs
from hsm_dicom.trust import Reason, Trust
from hsm_dicom.validation import PolicyValidator
from hsm_dicom.validation.validator import (
    Outcome,
    SignatureVerdict,
    Verdict,
    emit_events,
    make_unreadable_verdict,
    worst_exit_status,
)


class UnreadableResultsError(DicomError):
    """The file of --resume is not the output of an earlier run."""


LISTED_PROBLEMS = 50
"""The number of files that the end of a run lists again."""


@dataclass(frozen=True)
class Shown:
    """How a run shows its verdicts: as JSON, or as lines (`brief`) or blocks.

    `problems_only` leaves out the files that are good; `lists_problems` repeats the others at the end.
    """

    json: bool = False
    brief: bool = False
    problems_only: bool = False
    lists_problems: bool = False


class VerificationRun:
    """One run over many files, with the outcomes and their output.

    `source` is the configuration whose `[trust]` is used, None if the options say whom to trust.
    """

    def __init__(
        self,
        validator: PolicyValidator,
        shown: Shown,
        *,
        source: Path | None = None,
        calling_ae_title: str = "",
        dump: Path | None = None,
        html: Path | None = None,
        find_chains: Callable[[], Sequence[x509.Certificate]] = tuple,
    ) -> None:
        self.validator = validator
        self.shown = shown
        self.keyed_by = validator
        self._find_chains: Callable[[], Sequence[x509.Certificate]] | None = find_chains
        self.source = source
        self.calling_ae_title = calling_ae_title
        self.dump = dump
        self.html = html
        self.for_page: list[Verdict] = []
        self.started = time.perf_counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.earlier: Counter[Outcome] = Counter()
        self.undumped = 0
        self.problems: list[tuple[str, str]] = []
        self.unlisted = 0

    @property
    def status(self) -> int:
        """Exit status of the run, including the outcomes of an earlier run."""
        return worst_exit_status([*self.outcomes, *self.earlier]) or (exits.FAILED if self.undumped else exits.OK)

    def remove_validated(self, paths: Sequence[str], results: Path) -> list[str]:
        """Return the files without a reusable verdict of an earlier run; count the outcomes of the others.

        A verdict is reused if the file is unchanged and this run has the same trust anchors and policy.
        """
        earlier_verdicts = _read_results(results)
        left = []
        for path in paths:
            verdict = earlier_verdicts.get(path)
            if verdict is None or not self._is_current(path, *verdict[1:]):
                left.append(path)
            else:
                self.earlier[verdict[0]] += 1
        return left

    def _is_current(self, path: str, validated_at: datetime, resume_key: str) -> bool:
        try:
            status = Path(path).stat()
        except OSError:
            return False
        # A verdict from the clock tick in which the file changed, or from the future, may be about other content.
        written = datetime.fromtimestamp(status.st_ctime, UTC)
        return written < validated_at <= datetime.now(UTC) and resume_key == self.keyed_by.compute_resume_key(
            file_state(status), self.calling_ae_title
        )

    def verify(
        self, paths: Sequence[str], executor: Executor, advance: Callable[[], None], stop: threading.Event
    ) -> None:
        """Verify all files until `stop` is set, and report each verdict at once."""
        self._report_trust()
        if self.dump is not None:
            self.dump.mkdir(parents=True, exist_ok=True)
        with closing(check_files(paths, executor=executor, stop=stop)) as outcomes:
            for found in outcomes:
                if stop.is_set():  # another verdict might fetch revocation data
                    break
                advance()
                if found.result is not None:
                    self._take(self._validate(found.result))
                else:
                    self._take_unreadable(found.path, found.error or RuntimeError("no result"))

    def _validate(self, file: VerifiedFile) -> Verdict:
        """Validate a file; at the first incomplete chain, look for its certificates on the tokens, once in a run."""
        verdict = self.validator.validate(file, calling_ae_title=self.calling_ae_title)
        if self._find_chains is not None and any(map(_lacks_intermediate, verdict.signatures)):
            found, self._find_chains = self._find_chains(), None
            if found:
                self.validator = self.validator.with_intermediates(found)
                verdict = self.validator.validate(file, calling_ae_title=self.calling_ae_title)
        if self.validator is self.keyed_by:
            return verdict
        key = "" if file.state is None else self.keyed_by.compute_resume_key(file.state, self.calling_ae_title)
        return replace(verdict, resume_key=key)

    def leave_out(self, folders: Iterable[FolderError]) -> None:
        """Report omitted folders; each counts as unreadable."""
        for folder in folders:
            self._take_unreadable(str(folder.path), folder)

    def _take_unreadable(self, path: str, error: Exception) -> None:
        output.complain(path, sentence(error))
        self._take(make_unreadable_verdict(path, error))

    def _take(self, verdict: Verdict) -> None:
        self.outcomes[verdict.outcome] += 1
        emit_events(verdict)
        if not is_good(verdict.outcome):
            self._remember(verdict)
        if not (self.shown.problems_only and is_good(verdict.outcome)):
            self._report(verdict)
        self._dump(verdict)
        if self.html is not None:
            self.for_page.append(verdict)

    def _remember(self, verdict: Verdict) -> None:
        if len(self.problems) < LISTED_PROBLEMS:
            self.problems.append((verdict.name, verdict.text))
        else:
            self.unlisted += 1

    def _report_trust(self) -> None:
        """Say whose signatures are trusted, if the configuration says so and not the command line."""
        if self.source is None or self.shown.json:
            return
        policy = f", policy {self.validator.name}" if self.validator.name else ""
        anchors = list_subjects(self.validator.store) or ["none"]
        output.say((f"Trust anchors of [trust] in {self.source}: {'; '.join(anchors)}{policy}", output.QUIET))

    def summarise(self) -> None:
        """Report the counts of outcomes, and write the HTML page if its path is set."""
        self._report_sum()
        if self.html is not None:
            write_html(self.html, self.for_page, self.validator)

    def _report_sum(self) -> None:
        seconds = time.perf_counter() - self.started
        counts = self.outcomes + self.earlier
        if self.shown.json:
            output.write_json("verify-summary", self._make_summary(counts, seconds))
            return
        total = sum(counts.values())
        if total == 1 and not self.earlier:
            return
        print()
        for outcome, words in _SUMMARY.items():
            if counts[outcome]:
                output.outcome(is_good(outcome), f"{output.count(counts[outcome], 'file')} {words}")
        done = sum(self.outcomes.values())
        rate = f", {done / seconds:,.0f} files/s" if done > 9 else ""
        before = f" ({sum(self.earlier.values())} of them before)" if self.earlier else ""
        output.say((f"{output.count(total, 'file')}{before} in {seconds:.1f} s{rate}", output.QUIET))
        if self.shown.lists_problems and not self.shown.problems_only and len(self.problems) + self.unlisted < done:
            self._list_problems()

    def _list_problems(self) -> None:
        """List the files that are not good again, which many good ones may have moved out of sight."""
        if not self.problems:
            return
        print()
        output.say(f"Files that are not good: {len(self.problems) + self.unlisted}")
        for name, text in self.problems:
            output.result(False, f"{output.shown(name)}: {output.shown(text)}")
        if self.unlisted:
            output.say(f"and {self.unlisted} more; --only problems shows all of them.")

    def _make_summary(self, counts: Counter[Outcome], seconds: float) -> dict[str, object]:
        return {
            "outcomes": {outcome.value: counts[outcome] for outcome in Outcome},
            "exit_status": self.status,
            "seconds": round(seconds, 3),
            "policy": self.validator.name or None,
            "configuration": None if self.source is None else str(self.source),
            "trust_anchors": list_subjects(self.validator.store),
            "timestamp_anchors": list_subjects(self.validator.timestamp_store),
        }

    def _dump(self, verdict: Verdict) -> None:
        if self.dump is None or not verdict.signatures:
            return
        try:
            dump_macs(verdict.name, self.dump)
        except DicomError as error:
            self.undumped += 1
            output.complain(verdict.name, sentence(error))

    def _report(self, verdict: Verdict) -> None:
        if self.shown.json:
            print(json_line(verdict), flush=True)
        elif verdict.outcome is not Outcome.UNREADABLE:
            (print_line if self.shown.brief else print_block)(verdict)


def _lacks_intermediate(verdict: SignatureVerdict) -> bool:
    trust = verdict.trust
    return trust is not None and trust.trust is Trust.INDETERMINATE and trust.reason is Reason.NO_PATH


def is_good(outcome: Outcome) -> bool:
    """Return whether a file with this outcome needs no attention."""
    return outcome in (Outcome.GOOD, Outcome.EXEMPT)


_SUMMARY = {
    Outcome.GOOD: "with valid signatures only",
    Outcome.EXEMPT: "of which the policy asks no signature",
    Outcome.QUESTIONABLE: "with signatures that are questionable",
    Outcome.POLICY_NOT_MET: "with valid signatures, but not what is required",
    Outcome.NO_SIGNATURE: "without a signature",
    Outcome.UNREADABLE: "could not be read",
    Outcome.SIGNATURE_FAILED: "with a signature that is invalid or undecided",
}


def _read_results(file: Path) -> dict[str, tuple[Outcome, datetime, str]]:
    """Return outcome, time and resume key of each verdict of an earlier run, from its JSON lines; skip torn lines."""
    earlier_verdicts: dict[str, tuple[Outcome, datetime, str]] = {}
    for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        try:
            if document.get("schema") != SCHEMA:
                continue
            validated_at = datetime.fromisoformat(document["validated_at"]).astimezone(UTC)
            outcome = Outcome[document["outcome"].upper().replace("-", "_")]
            earlier_verdicts[document["file"]] = outcome, validated_at, str(document.get("resume_key"))
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UnreadableResultsError(
                f"{file}:{number}: is not what hsm-dicom verify --json writes; name its output, or leave --resume out."
            ) from error
    return earlier_verdicts
