"""Reports on an identity whose key is on several tokens: text for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.token_report import token_json
from hsm_dicom.node.identities.groups import GroupStatus, MemberStatus, RecordedChange
from tokens.group import BreakerState

_STYLES = {BreakerState.CLOSED: output.GOOD, BreakerState.EXCLUDED: output.BAD}


def print_group(status: GroupStatus) -> None:
    """Print each token with the state of its breaker, its last fault, and what a process recorded of it."""
    count = output.count(len(status.members), "token")
    output.say((output.shown(status.identity), "bold"), f"  key on {count}, mode {status.mode}")
    for member in status.members:
        where = "" if member.token is None else f"  {output.shown(member.token.description)}"
        style = _STYLES.get(member.state, output.UNSURE)
        output.say((output.shown(member.name), "bold"), "  ", (member.state.value, style), where, indent=2)
        if member.fault is not None:
            output.say(f"fault: {output.shown(member.fault.text)}", indent=4)
        if member.recorded is not None:
            output.say(_describe(member.recorded), indent=4)


def print_group_verdict(status: GroupStatus) -> None:
    """Print whether every token works, and the key is the same."""
    works = sum(member.state is BreakerState.CLOSED for member in status.members)
    name, count = output.shown(status.identity), output.count(len(status.members), "token")
    if status.is_complete:
        output.outcome(
            True, f"{name}: all {count} sign with {'keys of their own' if status.siblings else 'the same key'}."
        )
    else:
        output.outcome(False, f"{name}: {works} of {count} can be used.")


def _describe(change: RecordedChange) -> str:
    ended = "" if change.is_running else ", which has ended"
    reason = f": {output.shown(change.reason)}" if change.reason else ""
    return f"last event: {change.state}, recorded at {change.time} by process {change.process}{ended}{reason}"


def group_json(status: GroupStatus) -> dict[str, Any]:
    """Return the state of a group as JSON."""
    return {
        "identity": status.identity,
        "mode": status.mode,
        "siblings": status.siblings,
        "working": status.is_working,
        "complete": status.is_complete,
        "spki_sha256": status.spki_sha256 or None,
        "members": [_member_json(member) for member in status.members],
    }


def _member_json(member: MemberStatus) -> dict[str, Any]:
    fault, recorded = member.fault, member.recorded
    return {
        "name": member.name,
        "state": member.state.value,
        "fault": None if fault is None else {"when": output.timestamp(fault.when), "text": fault.text},
        "recorded": None
        if recorded is None
        else {
            "time": recorded.time,
            "process": recorded.process,
            "running": recorded.is_running,
            "state": recorded.state,
            "reason": recorded.reason,
        },
        "token": None if member.token is None else token_json(member.token),
    }
