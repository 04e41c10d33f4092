"""Reports on keys: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from rich.text import Text

from hsm_dicom.cli.render import output
from hsm_dicom.identity import EXPIRY_WARNING, CertificateState, find_expiry_remark, find_states
from hsm_dicom.node.acceptance import describe_use
from tokens.pkcs11.objects import KeyEntry
from tokens.pkcs11.unfinished import UnfinishedStep
from tokens.policy import Finding, KeyAttributes, KeyPolicy, assess_key
from tokens.trials import OperationCheck


def print_key(entry: KeyEntry, warning: timedelta, word: str, users: Mapping[str, Path]) -> None:
    """Print a key, the findings of the policy, and its certificates, each with its state and end.

    `word` selects the key. `users` are the identities of this key whose certificate is in a file.
    """
    attributes = entry.attributes
    name = output.shown(entry.name.label) or "(no label)"
    output.say((name, "bold"), f"  {kind(attributes)}, {_uses(entry)}, id {entry.name.id.hex() or 'none'}")
    if attributes.always_authenticate:
        output.say("requires its PIN for each use", indent=2)
    print_findings(assess_key(attributes, KeyPolicy()), indent=2)
    for certificate, state in find_states(entry.certificates).items():
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        serial = f"serial {certificate.serial_number:x}"
        output.say(
            f"certificate {output.shown(subject)}, by {output.shown(issuer)}, {serial}, until {until}, ",
            _describe_state(certificate, state, used=not users),
            indent=2,
        )
        remark = find_expiry_remark(certificate, warning=warning)
        if remark is not None and state is CertificateState.IN_USE:
            style = output.BAD if remark.expired else output.UNSURE
            output.say((output.shown(remark.text), style), indent=2)
    for identity, file in users.items():
        output.say(f"identity {output.shown(identity)} uses the certificate in {output.shown(str(file))}", indent=2)
    if not entry.certificates and not users:
        output.say(("no certificate yet", output.QUIET), indent=2)
    output.say_verbatim(word, indent=2, style=output.QUIET)


def _describe_state(certificate: x509.Certificate, state: CertificateState, *, used: bool) -> tuple[str, str]:
    if state is CertificateState.LATER:
        return f"valid from {certificate.not_valid_before_utc:%Y-%m-%d}", output.QUIET
    if state is CertificateState.OLD or not used:
        return "old" if state is CertificateState.OLD else "not used", output.QUIET
    return "in use", output.GOOD


def kind(attributes: KeyAttributes) -> str:
    """Return the type and size of a key: RSA 3072, P-256."""
    names = {"secp256r1": "P-256", "secp384r1": "P-384"}
    return names.get(attributes.key_type, f"{attributes.key_type} {attributes.size_bits}")


def _uses(entry: KeyEntry) -> str:
    attributes = entry.attributes
    uses = [use for use, may in (("signs", attributes.sign), ("decrypts", attributes.decrypt)) if may]
    return " and ".join(uses) or "its use is not reported"


def unfinished_json(step: UnfinishedStep) -> dict[str, Any]:
    """Return a key pair whose generation was left, as JSON."""
    return {"label": step.label, "id": step.id.hex(), "left": output.timestamp(step.when)}


def key_json(entry: KeyEntry, warning: timedelta = EXPIRY_WARNING) -> dict[str, Any]:
    """Return a key as JSON."""
    attributes = entry.attributes
    return {
        "label": entry.name.label,
        "id": entry.name.id.hex(),
        "type": attributes.key_type,
        "bits": attributes.size_bits,
        "spki_sha256": entry.spki_sha256 or None,
        "sensitive": attributes.sensitive,
        "extractable": attributes.extractable,
        "always_sensitive": attributes.always_sensitive,
        "never_extractable": attributes.never_extractable,
        "local": attributes.local,
        "sign": attributes.sign,
        "decrypt": attributes.decrypt,
        "always_authenticate": attributes.always_authenticate,
        "findings": findings_json(assess_key(attributes, KeyPolicy())),
        "certificates": [
            certificate_json(certificate, warning) | {"state": state.value.replace(" ", "-")}
            for certificate, state in find_states(entry.certificates).items()
        ],
    }


def certificate_json(certificate: x509.Certificate, warning: timedelta = EXPIRY_WARNING) -> dict[str, Any]:
    """Return a certificate as JSON, with a remark if it ends within the warning period."""
    remark = find_expiry_remark(certificate, warning=warning)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "not_before": output.timestamp(certificate.not_valid_before_utc),
        "not_after": output.timestamp(certificate.not_valid_after_utc),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "remark": remark.text if remark else None,
    }


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings of the key policy as JSON."""
    return [{"weakness": f.weakness.value, "text": f.text, "refusal": f.refusal} for f in findings]


def print_operations(operations: Iterable[OperationCheck], device: str) -> None:
    """Print the tested operations of a key, each with its mechanism, or with the reason why it does not work."""
    rows = output.Table("", "operation", f"how the {device} is asked", "needed for")
    for tried in operations:
        how = tried.mechanism if tried.works else "does not work:"
        rows.add_row(Text(*output.mark(tried.works)), tried.operation, how, describe_use(tried))
        if not tried.works:
            rows.add_note(tried.problem, output.UNSURE)
    rows.print()


def print_findings(findings: Iterable[Finding], *, indent: int = 0) -> None:
    """Print findings of the key policy."""
    for finding in findings:
        what = ("refused", output.BAD) if finding.refusal else ("remark", output.UNSURE)
        output.say(what, f": {finding.text}", indent=indent)


def operations_json(operations: Iterable[OperationCheck]) -> list[dict[str, Any]]:
    """Return the tested operations of a key as JSON."""
    return [
        {
            "operation": str(tried.operation),
            "works": tried.works,
            "mechanism": tried.mechanism or None,
            "needed_for": describe_use(tried) or None,
            "problem": tried.problem or None,
        }
        for tried in operations
    ]
