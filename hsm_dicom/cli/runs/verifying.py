"""A run of `hsm-dicom verify`: print each verdict at once, as a block, a line or JSON."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from hsm_dicom.cli import exits
from hsm_dicom.cli.errors import sentence
from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.verdict_text import print_block, print_line
from hsm_dicom.dataset.dicom_file import file_state
from hsm_dicom.dataset.folders import FolderError
from hsm_dicom.errors import DicomError
from hsm_dicom.report import SCHEMA, json_line, write_html
from hsm_dicom.signatures import check_files, dump_macs
from hsm_dicom.validation.validator import (
    Outcome,
    Validator,
    Verdict,
    emit_events,
    make_unreadable_verdict,
    worst_exit_status,
)


class UnreadableResultsError(DicomError):
    """The file of --resume is not the output of an earlier run."""


class VerificationRun:
    """One run over many files, with the outcomes and their output."""

    def __init__(self, validator: Validator, *, json: bool, brief: bool, dump: Path | None, html: Path | None) -> None:
        self.validator = validator
        self.json = json
        self.brief = brief
        self.dump = dump
        self.html = html
        self.for_page: list[Verdict] = []
        self.started = time.perf_counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.earlier: Counter[Outcome] = Counter()
        self.undumped = 0

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
        return written < validated_at <= datetime.now(UTC) and resume_key == self.validator.compute_resume_key(
            file_state(status)
        )

    def verify(
        self, paths: Sequence[str], executor: Executor, advance: Callable[[], None], stop: threading.Event
    ) -> None:
        """Verify all files until `stop` is set, and report each verdict at once."""
        if self.dump is not None:
            self.dump.mkdir(parents=True, exist_ok=True)
        with closing(check_files(paths, executor=executor, stop=stop)) as outcomes:
            for found in outcomes:
                if stop.is_set():  # another verdict might fetch revocation data
                    break
                advance()
                if found.result is not None:
                    self._take(self.validator.validate(found.result))
                else:
                    self._take_unreadable(found.path, found.error or RuntimeError("no result"))

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
        self._report(verdict)
        self._dump(verdict)
        if self.html is not None:
            self.for_page.append(verdict)

    def summarise(self) -> None:
        """Report the counts of outcomes, and write the HTML page if its path is set."""
        self._report_sum()
        if self.html is not None:
            write_html(self.html, self.for_page, self.validator)

    def _report_sum(self) -> None:
        seconds = time.perf_counter() - self.started
        counts = self.outcomes + self.earlier
        if self.json:
            counted = {outcome.value: counts[outcome] for outcome in Outcome}
            summary = {"outcomes": counted, "exit_status": self.status, "seconds": round(seconds, 3)}
            output.write_json("verify-summary", summary)
            return
        total = sum(counts.values())
        if total == 1 and not self.earlier:
            return
        print()
        for outcome, words in _SUMMARY.items():
            if counts[outcome]:
                output.outcome(outcome is Outcome.GOOD, f"{output.count(counts[outcome], 'file')} {words}")
        done = sum(self.outcomes.values())
        rate = f", {done / seconds:,.0f} files/s" if done > 9 else ""
        before = f" ({sum(self.earlier.values())} of them before)" if self.earlier else ""
        output.say((f"{output.count(total, 'file')}{before} in {seconds:.1f} s{rate}", output.QUIET))

    def _dump(self, verdict: Verdict) -> None:
        if self.dump is None or not verdict.signatures:
            return
        try:
            dump_macs(verdict.name, self.dump)
        except DicomError as error:
            self.undumped += 1
            output.complain(verdict.name, sentence(error))

    def _report(self, verdict: Verdict) -> None:
        if self.json:
            print(json_line(verdict), flush=True)
        elif verdict.outcome is not Outcome.UNREADABLE:
            (print_line if self.brief else print_block)(verdict)


_SUMMARY = {
    Outcome.GOOD: "with valid signatures only",
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
