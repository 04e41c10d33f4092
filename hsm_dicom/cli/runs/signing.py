"""A run of `hsm-dicom sign`: count and report signed and failed files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from hsm_dicom.cli.errors import sentence
from hsm_dicom.cli.files import Input
from hsm_dicom.cli.render import output
from hsm_dicom.dataset.folders import FolderError
from hsm_dicom.dataset.tags import describe_tag, format_path, format_tag, never_signable
from hsm_dicom.identity import Identity
from hsm_dicom.signatures import SigningReport, SigningRequest
from hsm_dicom.signatures.creation.create import Timestamper
from hsm_dicom.signing.batch import SigningJob, SigningOutcome, sign_jobs
from hsm_dicom.validation.coverage import list_names
from tokens.errors import TokenError

_ITEM_ONLY = (
    "Only an Item was signed. Its signature also fits its content in any other object, and protects nothing around it; "
    "sign the main Data Set too (without --item) to protect the object."
)


class SigningRun:
    """One run over many files, with the counts and their report."""

    def __init__(self, signer: Identity, request: SigningRequest, *, json: bool) -> None:
        self.signer = signer
        self.request = request
        self.json = json
        self.started = time.perf_counter()
        self.signed = 0
        self.last: SigningReport | None = None
        self.skipped = 0
        self.repaired = 0
        self.uncovered = 0
        self.incomplete = 0
        self.overpadded = 0
        self.unhashed_by_dcmtk = 0
        self.failed = 0

    def leave_out(self, folders: Iterable[FolderError]) -> None:
        """Report omitted folders; each counts as a failure."""
        for folder in folders:
            self._report_failed(SigningJob(str(folder.path)), folder)

    def sign(
        self,
        pairs: Iterable[tuple[Input, Path | None]],
        executor: Executor,
        advance: Callable[[], None],
        *,
        sessions: int,
        timestamp: Timestamper | None,
        overwrite: bool,
        resume: bool,
        stop: threading.Event,
    ) -> None:
        """Sign files until `stop` is set, and report each.

        Raises TokenError if the token fails; after a summary, unless `stop` is set.
        """
        outcomes = sign_jobs(
            (_job(item, target) for item, target in pairs),
            self.signer.key,
            self.request,
            executor=executor,
            sessions=sessions,
            timestamp=timestamp,
            overwrite=overwrite,
            resume=resume,
            stop=stop,
            identity=self.signer.name,
        )
        try:
            for outcome in outcomes:
                advance()
                self._take(outcome)
        except TokenError:
            if not stop.is_set():
                self.summarise()
            raise

    def _take(self, outcome: SigningOutcome) -> None:
        if outcome.report is not None:
            self._report_signed(outcome.report)
        elif outcome.earlier is not None:
            self.skipped += 1
        else:
            self._report_failed(outcome.job, outcome.error)

    def summarise(self) -> None:
        """Report the counts, and the details if there is only one file."""
        seconds = time.perf_counter() - self.started
        if self.json:
            counts = {"signed": self.signed, "skipped": self.skipped, "failed": self.failed}
            counts |= {"repaired": self.repaired, "uncovered": self.uncovered, "incomplete": self.incomplete}
            counts |= {"overpadded": self.overpadded, "unhashed_by_dcmtk": self.unhashed_by_dcmtk}
            output.write_json("sign-summary", counts | {"seconds": round(seconds, 3)})
            return
        if self.signed == 1 and self.last is not None:
            _print_report(self.last, self.signer)
        if self.signed and self.request.item:
            output.say(_ITEM_ONLY)
        if self.skipped or self.failed or self.signed != 1:
            parts = [f"{output.count(self.signed, 'file')} signed"]
            parts += [f"{self.skipped} signed before"] if self.skipped else []
            parts += [f"{self.failed} failed"] if self.failed else []
            rate = f", {self.signed / seconds:,.0f} files/s" if self.signed > 9 else ""
            is_done = bool(self.signed or self.skipped) and not self.failed
            output.outcome(is_done, f"{', '.join(parts)} in {seconds:.1f} s{rate}.")
            self._report_incomplete()
            self._report_disagreement()

    def _report_incomplete(self) -> None:
        """Report how many files have unsigned elements; each file's report lists them."""
        if self.repaired:
            output.say((f"{output.count(self.repaired, 'file')} signed as a clean copy.", output.QUIET))
        if self.uncovered:
            output.outcome(False, f"{output.count(self.uncovered, 'file')} signed without all of identity and content.")
        if others := self.incomplete - self.uncovered:
            output.say((f"{output.count(others, 'file')} with other elements that are not signed.", output.QUIET))

    def _report_disagreement(self) -> None:
        """Report how many signatures DCMTK's dcmsign will call corrupted, and why."""
        if self.overpadded:
            files = f"{output.count(self.overpadded, 'file')} signed with surplus padding in strings"
            output.say(
                (
                    f"{files}: DCMTK's dcmsign will call it corrupted, and any program of DCMTK that writes such a "
                    "file anew makes the signature invalid. To remove the padding first, add --trim-padding.",
                    output.QUIET,
                )
            )
        if self.unhashed_by_dcmtk:
            files = (
                f"{output.count(self.unhashed_by_dcmtk, 'file')} signed that DCMTK's dcmsign 3.6.7 will call corrupted"
            )
            output.say((f"{files}: it leaves parts of long nested sequences out of its hash.", output.QUIET))

    def _report_signed(self, report: SigningReport) -> None:
        self.signed += 1
        self.last = report
        self.incomplete += not all(map(never_signable, report.left_out))
        self.overpadded += bool(report.overpadded)
        self.unhashed_by_dcmtk += bool(report.unhashed_by_dcmtk)
        if report.repaired:
            self.repaired += 1
            if not self.json:
                output.complain(report.source, f"a clean copy was signed: {'; '.join(report.repaired)}.")
        if report.uncovered:
            self.uncovered += 1
            if not self.json:
                named = list_names(report.uncovered, limit=len(report.uncovered))
                output.complain(report.source, f"signed, but the signature does not cover {named}.")
        if self.json:
            output.write_json("sign", _report_json(report, self.signer))

    def _report_failed(self, job: SigningJob, error: Exception | None) -> None:
        self.failed += 1
        error = error or RuntimeError("no outcome")
        reason = sentence(error)
        if self.json:
            problem = {"kind": type(error).__name__, "text": reason}
            output.write_json("sign", {"file": job.source, "signed": False, "error": problem})
        else:
            output.complain(job.source, reason)


def _job(item: Input, target: Path | None) -> SigningJob:
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    return SigningJob(str(item.path), None if target is None else str(target))


def _print_report(report: SigningReport, signer: Identity) -> None:
    output.outcome(True, (f"{output.shown(report.target)}", "bold"), " is signed.")
    rows = [
        ("signer", output.shown(signer.subject)),
        ("signature", report.uid),
        ("profile", f"{report.profile.value}, {report.mac}" + (", with a time stamp" if report.timestamped else "")),
        ("place", output.shown(format_path(report.place)) or "the whole object"),
        ("covers", output.count(len(report.signed), "attribute")),
    ]
    if report.left_out:
        rows.append(
            ("left out", f"{output.count(len(report.left_out), 'attribute')}: {list_names(report.left_out, limit=6)}")
        )
    rows += [
        ("note", f"{output.shown(describe_tag(tag))} has surplus padding: DCMTK's dcmsign will call this corrupted")
        for tag in report.overpadded
    ]
    if report.unhashed_by_dcmtk:
        octets = f"{report.unhashed_by_dcmtk:,} octets of nested sequences"
        rows.append(("note", f"DCMTK's dcmsign 3.6.7 leaves {octets} out of its hash, and will call this corrupted"))
    output.facts(rows)


def _report_json(report: SigningReport, signer: Identity) -> dict[str, Any]:
    return {
        "file": report.source,
        "signed": True,
        "target": report.target,
        "signature_uid": report.uid,
        "item_path": format_path(report.place),
        "profile": report.profile.value,
        "mac_algorithm": report.mac,
        "signer": signer.subject,
        "timestamped": report.timestamped,
        "repaired": list(report.repaired),
        "elements_signed": [format_tag(tag) for tag in report.signed],
        "elements_left_out": [format_tag(tag) for tag in report.left_out],
        "elements_uncovered": [format_tag(tag) for tag in report.uncovered],
        "elements_overpadded": [format_tag(tag) for tag in report.overpadded],
        "octets_unhashed_by_dcmtk": report.unhashed_by_dcmtk,
    }
