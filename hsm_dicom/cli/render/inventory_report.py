"""The inventory of a node: text for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from hsm_dicom.cli.render import output
from hsm_dicom.identity import CertificateState
from hsm_dicom.node.inventory import Entry, Inventory, Urgency

_STYLES = {Urgency.PROBLEM: output.BAD, Urgency.SOON: output.UNSURE, Urgency.FINE: output.GOOD}
_SIGNS = {Urgency.PROBLEM: "problem", Urgency.SOON: "soon", Urgency.FINE: "fine"}


def print_inventory(inventory: Inventory) -> None:
    """Print the rows, the most urgent first: those that need attention in full, the others on a line or two each."""
    for entry in inventory.entries:
        if entry.urgency is not Urgency.FINE:
            _print_urgent(entry)
    fine = [entry for entry in inventory.entries if entry.urgency is Urgency.FINE]
    if len(fine) < len(inventory.entries):
        print()
    if fine:
        rows = output.Table("days", "what", "held by", "used by", right=["days"])
        for entry in fine:
            days = "" if entry.days_left is None else str(entry.days_left)
            what = f"{_name_kind(entry)} {entry.name}{_describe_state(entry)}"
            rows.add_row(days, what, _describe_holder(entry), ", ".join(entry.uses) or "-")
        rows.print()
        print()
    for name in inventory.not_logged_in:
        output.say(("?", output.UNSURE), f" Token {output.shown(name)}: only its public objects were read (no login).")
    problems, soon, good = (sum(entry.urgency is kind for entry in inventory.entries) for kind in Urgency)
    text = f"{output.count(problems, 'problem')}, {soon} soon, {good} fine"
    output.outcome(not inventory.needs_attention, f"{output.count(len(inventory.entries), 'row')}: {text}.")


def _print_urgent(entry: Entry) -> None:
    head = f" {_name_kind(entry)} {output.shown(entry.name)}"
    output.say((_SIGNS[entry.urgency], _STYLES[entry.urgency]), (head, "bold"), _describe_end(entry))
    for what in (_describe_holder(entry), f"used by {', '.join(entry.uses)}" if entry.uses else ""):
        if what:
            output.say(output.shown(what), indent=2)
    if entry.problem:
        output.say(output.shown(entry.problem), indent=2)
    if entry.consequence:
        when = "Then" if entry.urgency is Urgency.SOON else "Now"
        output.say(f"{when}: {output.shown(entry.consequence)}", indent=2)
    if entry.remedy:
        output.say(output.shown(entry.remedy), indent=2)


def _name_kind(entry: Entry) -> str:
    return "CRL" if entry.kind.value == "crl" else entry.kind.value.replace("-", " ")


def _describe_state(entry: Entry) -> str:
    """Return the state of a certificate that is not in use."""
    return "" if entry.state in ("", CertificateState.IN_USE) else f", {entry.state}"


def _describe_end(entry: Entry) -> str:
    if entry.ends is None or entry.days_left is None:
        return ""
    if entry.days_left < 0:
        since = abs(entry.days_left + 1)
        left = f"ended {output.count(since, 'day')} ago" if since else "ended within the last day"
    else:
        left = f"{output.count(entry.days_left, 'day')} left" if entry.days_left else "ends within a day"
    return f"  {left} ({entry.ends:%Y-%m-%d})"


def _describe_holder(entry: Entry) -> str:
    facts = [entry.holder, entry.size, entry.origin, "" if entry.subject == entry.name else entry.subject]
    return ", ".join(fact for fact in facts if fact)


def inventory_json(inventory: Inventory) -> dict[str, Any]:
    """Return the inventory as JSON; see docs/reference/json.md."""
    return {
        "file": str(inventory.file),
        "taken": output.timestamp(inventory.taken),
        "warn_days": inventory.warning.days,
        "needs_attention": inventory.needs_attention,
        "not_logged_in": list(inventory.not_logged_in),
        "entries": [
            {
                "urgency": entry.urgency.value,
                "kind": entry.kind.value,
                "name": entry.name,
                "holder": entry.holder or None,
                "subject": entry.subject or None,
                "uses": list(entry.uses),
                "size": entry.size or None,
                "origin": str(entry.origin) or None,
                "not_before": output.timestamp(entry.begins) if entry.begins else None,
                "ends": output.timestamp(entry.ends) if entry.ends else None,
                "days_left": entry.days_left,
                "consequence": entry.consequence or None,
                "problem": entry.problem or None,
                "remedy": entry.remedy or None,
                "state": str(entry.state).replace(",", "").replace(" ", "-") or None,
                "sha256": entry.fingerprint or None,
            }
            for entry in inventory.entries
        ],
    }
