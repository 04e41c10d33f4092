"""Reports on smart cards: text for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import hashes
from rich.text import Text

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.key_report import findings_json, kind, operations_json, print_findings, print_operations
from hsm_dicom.node.acceptance import can_make_dicom_signatures, list_uses
from tokens.secrets import Use
from tokens.smartcard.check import CardCheck, CardDetails, CardKeyCheck, CardKeyInfo, CardPin
from tokens.smartcard.search import CardInfo


def print_slot(slot: CardInfo) -> None:
    """Print a reader, the card in it, and a URI for each application."""
    output.say((output.shown(slot.reader), "bold"))
    if slot.atr is None:
        output.say(("empty", output.QUIET), indent=2)
        return
    output.say(f"card with ATR {slot.atr.hex()}", indent=2)
    for uri in slot.uris:
        output.say_verbatim(str(uri), indent=2)
    if slot.applications:
        return
    if slot.in_use:
        output.say(("another program holds it", output.UNSURE), indent=2)
    else:
        output.say(("no application that is known; describe it in [cards.NAME]", output.UNSURE), indent=2)


def slot_json(slot: CardInfo) -> dict[str, Any]:
    """Return a reader and its card as JSON."""
    return {
        "reader": slot.reader,
        "atr": None if slot.atr is None else slot.atr.hex(),
        "in_use": slot.in_use,
        "applications": [
            {"profile": profile, "serial": serial or None, "uri": str(uri)}
            for profile, serial, uri in zip(slot.applications, slot.serials, slot.uris, strict=True)
        ],
    }


def print_details(details: CardDetails) -> None:
    """Print the properties of a card and its keys."""
    output.say((output.shown(details.reader), "bold"))
    rows = [("profile", details.profile.name), ("serial", details.serial or "not reported"), ("ATR", details.atr.hex())]
    rows += [("PIN", _pin_state(pin)) for pin in details.pins]
    if details.pin_pad:
        rows.append(("", "the reader has a pin pad"))
    rows += [("key", _key_line(known)) for known in details.keys]
    for use in Use:
        indexes = [str(index) for known, index in details.secrets if known is use]
        if indexes:
            rows.append((f"{use} keys", f"may be at {', '.join(indexes)}"))
    output.facts(rows)
    output.say_verbatim(str(details.uri), indent=2, style=output.QUIET)


def _pin_state(pin: CardPin) -> str:
    left = "the card does not report its retry counter"
    if pin.retries_left is not None:
        retries = "1 retry" if pin.retries_left == 1 else f"{pin.retries_left} retries"
        left = f"{retries} left" if pin.retries_left else "LOCKED"
    return f"{pin.reference:02x}: {left}"


def _key_line(known: CardKeyInfo) -> str:
    if known.attributes is None:
        return f"{known.key.name}: {output.shown(known.problem)}"
    subject = "no certificate"
    if known.certificate is not None:
        subject = output.shown(known.certificate.subject.rfc4514_string())
    each_time = ", requires its PIN for each use" if known.attributes.always_authenticate else ""
    return f"{known.key.name}: {kind(known.attributes)}, {subject}{each_time}"


def details_json(details: CardDetails) -> dict[str, Any]:
    """Return the properties of a card as JSON."""
    return {
        "reader": details.reader,
        "atr": details.atr.hex(),
        "profile": details.profile.name,
        "serial": details.serial or None,
        "uri": str(details.uri),
        "pin_pad": details.pin_pad,
        "pins": [{"reference": f"{pin.reference:02x}", "retries_left": pin.retries_left} for pin in details.pins],
        "keys": [_describe_known_key(known) for known in details.keys],
        "secret_keys": [{"use": use.value, "index": index} for use, index in details.secrets],
    }


def _describe_known_key(known: CardKeyInfo) -> dict[str, Any]:
    attributes, certificate = known.attributes, known.certificate
    return {
        "name": known.key.name,
        "type": attributes.key_type if attributes else None,
        "bits": attributes.size_bits if attributes else None,
        "always_authenticate": attributes.always_authenticate if attributes else None,
        "certificate": None
        if certificate is None
        else {
            "subject": certificate.subject.rfc4514_string(),
            "issuer": certificate.issuer.rfc4514_string(),
            "serial": f"{certificate.serial_number:x}",
            "not_before": output.timestamp(certificate.not_valid_before_utc),
            "not_after": output.timestamp(certificate.not_valid_after_utc),
            "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        },
        "problem": known.problem or None,
    }


def print_check(check: CardCheck) -> None:
    """Print an acceptance test: a table for each key, one for the secret keys, and one sentence at the end."""
    details = check.details
    output.say(
        (output.shown(details.reader), "bold"), f"  {details.profile.name}, serial {details.serial or 'not reported'}"
    )
    for key in check.keys:
        _print_key_check(key)
    if check.secrets:
        print()
        rows = output.Table("", "secret key", "check value")
        for secret in check.secrets:
            value = (
                Text(output.shown(secret.problem), output.UNSURE)
                if secret.problem
                else secret.check_value.hex().upper()
            )
            rows.add_row(Text(*output.mark(not secret.problem)), f"{secret.use} {secret.index}", value)
        rows.print()
        if check.handshake_rate:
            output.say(f"{check.handshake_rate:,.1f} handshakes/s")
    print()
    jobs = list_uses(check)
    if jobs:
        output.outcome(True, f"This card can be used for {', '.join(jobs)}.")
    else:
        output.outcome(False, "This card cannot be used for DICOM: see the remarks.")


def _print_key_check(key: CardKeyCheck) -> None:
    print()
    output.say((f"Key {output.shown(key.name)}", "bold"), f"  {kind(key.attributes)}")
    print_operations(key.operations, "card")
    print_findings(key.findings)
    output.say(f"{key.rate:,.1f} operations/s" if key.rate else "Not measured: no operation works.")


def check_json(check: CardCheck) -> dict[str, Any]:
    """Return an acceptance test as JSON."""
    return {
        "serves": list_uses(check),
        "card": details_json(check.details),
        "keys": [
            {
                "name": key.name,
                "type": key.attributes.key_type,
                "bits": key.attributes.size_bits,
                "signs_dicom": can_make_dicom_signatures(key.operations),
                "findings": findings_json(key.findings),
                "operations": operations_json(key.operations),
                "operations_per_second": key.rate,
            }
            for key in check.keys
        ],
        "secret_keys": [
            {
                "use": secret.use.value,
                "index": secret.index,
                "check_value": secret.check_value.hex() or None,
                "problem": secret.problem or None,
            }
            for secret in check.secrets
        ],
        "handshakes_per_second": check.handshake_rate,
    }
