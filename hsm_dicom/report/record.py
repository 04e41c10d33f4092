"""The record of one ceremony, for an auditor: a JSON document, and a page to print and sign.

A record holds no PIN and no secret key, and no digest of a component: 56 bits of DES could be found from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509

from hsm_dicom.events import ConfigurationChanged, ConfigurationRead, Event
from hsm_dicom.operators import current_operator
from hsm_dicom.report.environment import make_environment
from hsm_dicom.report.html_report import write_page
from hsm_dicom.trust.certificates import name_text
from tokens.csr import format_extended_usage
from tokens.events import CeremonyStep, OperationOutcome

SCHEMA = "hsm-dicom/record/1"
"""The schema of the document."""

_LOOKS = {
    OperationOutcome.SUCCEEDED: "good",
    OperationOutcome.REFUSED: "bad",
    OperationOutcome.FAILED: "bad",
    OperationOutcome.UNANSWERED: "question",
}


@dataclass
class CeremonyRecord:
    """What one command did, as far as it is known; `token`, `key`, `secret_key` are as in the JSON of the commands.

    Subscribe `add_event` while it runs. `request` is the PEM of a certificate request.
    """

    command: str
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    device: str = ""
    token: Mapping[str, Any] | None = None
    key: Mapping[str, Any] | None = None
    secret_key: Mapping[str, Any] | None = None
    certificates: Sequence[Mapping[str, Any]] = ()
    used_by: Sequence[str] = ()
    """The identities of the configuration that use the key, if the command looks for them."""
    request: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[dict[str, str]] = field(default_factory=list)
    outputs: list[dict[str, str]] = field(default_factory=list)

    def add_event(self, event: Event) -> None:
        """Add a step of the ceremony, or the configuration that it uses or changes; leave out all other events."""
        if isinstance(event, ConfigurationRead):
            self.inputs.append({"kind": "configuration", "file": event.path, "sha256": event.sha256})
        elif isinstance(event, ConfigurationChanged):
            names = {"spki_sha256": event.spki_sha256 or None, "certificate_serial": event.certificate_serial or None}
            self._add_step("configure", event.change, OperationOutcome.SUCCEEDED, **names)
            self.outputs.append({"kind": "configuration", "file": event.path, "sha256": event.sha256})
        elif isinstance(event, CeremonyStep):
            self._add_step(
                event.step,
                event.object,
                event.outcome,
                token_serial=event.token_serial,
                reason=event.reason or None,
                spki_sha256=event.spki_sha256 or None,
                certificate_serial=event.certificate_serial or None,
            )

    def add_check(self, text: str, passed: bool) -> None:
        """Add what was checked before something was changed, as a step."""
        self._add_step("check", text, OperationOutcome.SUCCEEDED if passed else OperationOutcome.FAILED)

    def add_input(self, kind: str, file: Path) -> None:
        """Add a file that was read, with its SHA-256. Raises OSError."""
        self.inputs.append(_describe_file(kind, file, file.read_bytes()))

    def add_output(self, kind: str, file: Path | None, content: bytes) -> None:
        """Add what was written to a file, or to standard output if `file` is None, with its SHA-256."""
        self.outputs.append(_describe_file(kind, file, content))

    def _add_step(self, step: str, changed: str, outcome: OperationOutcome, **others: str | None) -> None:
        known = {"time": _format_time(datetime.now(UTC)), "step": step, "object": changed, "outcome": str(outcome)}
        unknown = dict.fromkeys(("token_serial", "reason", "spki_sha256", "certificate_serial"))
        self.steps.append({**unknown, **known, **others})

    def make_document(self, failure: str | None = None) -> dict[str, Any]:
        """Return the record of a command that ends now; `failure` is the sentence with which it failed."""
        operator = current_operator()
        outcome = OperationOutcome.SUCCEEDED
        if failure is not None:
            last = self.steps[-1]["outcome"] if self.steps else OperationOutcome.SUCCEEDED
            outcome = OperationOutcome.FAILED if last == OperationOutcome.SUCCEEDED else OperationOutcome(last)
        return {
            "schema": SCHEMA,
            "command": self.command,
            "software": f"hsm-dicom {version('hsm-dicom')}",
            "operator": operator.name,
            "login": operator.login,
            "host": operator.host,
            "begun": _format_time(self.begun),
            "ended": _format_time(datetime.now(UTC)),
            "outcome": str(outcome),
            "reason": failure,
            "device": self.device or None,
            "token": self.token,
            "key": self.key,
            "secret_key": self.secret_key,
            "certificates": list(self.certificates),
            "used_by": list(self.used_by),
            "request": self.request,
            "steps": self.steps,
            "inputs": self.inputs,
            "outputs": self.outputs,
        }


def page_of(target: Path) -> Path:
    """Return the file of the page beside a record."""
    return target.with_suffix(".html")


def write_record(target: Path, document: Mapping[str, Any]) -> None:
    """Write the document as JSON, and the page beside it, which has the SHA-256 of the JSON. Raises `ReportError`."""
    text = json.dumps(document, indent=2) + "\n"
    write_page(target, [text])
    template = make_environment().get_template("record.html.j2")
    page = template.generate(
        **document,
        look=_LOOKS[OperationOutcome(document["outcome"])],
        looks=_LOOKS,
        asked=_describe_request(document["request"]),
        file=target.name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        version=version("hsm-dicom"),
    )
    write_page(page_of(target), page)


def _describe_request(pem: str | None) -> dict[str, str]:
    """Return what a certificate request asks for, in words; nothing without a request."""
    if pem is None:
        return {}
    request = x509.load_pem_x509_csr(pem.encode("ascii"))
    names, usages = [], []
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += [str(one.value) for one in extension.value]
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            usages += [format_extended_usage(one) for one in extension.value]
    return {"subject": name_text(request.subject), "names": ", ".join(names), "usages": ", ".join(usages)}


def _describe_file(kind: str, file: Path | None, content: bytes) -> dict[str, str]:
    name = "standard output" if file is None else str(file)
    return {"kind": kind, "file": name, "sha256": hashlib.sha256(content).hexdigest()}


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
