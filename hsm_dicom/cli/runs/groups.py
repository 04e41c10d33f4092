"""`token info` and `token check` of an identity whose key is on several tokens."""

from __future__ import annotations

from pathlib import Path

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.context import choose_pin_prompt, parse_pin_option
from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.group_report import group_json, print_group, print_group_verdict
from hsm_dicom.cli.render.token_report import check_json, print_check
from hsm_dicom.config import Configuration
from hsm_dicom.config.groups import GroupAccess, choose_pin
from hsm_dicom.identity import IdentityAccess, find_identity
from hsm_dicom.node.acceptance import is_ready_for_dicom
from hsm_dicom.node.identities.groups import GroupStatus, inspect_group
from tokens.errors import PinError, TokenError
from tokens.pkcs11.check import TokenCheck, check_token
from tokens.policy import KeyPolicy


def find_group(configuration: Configuration, name: str, pin: str | None) -> tuple[IdentityAccess, GroupAccess] | None:
    """Return the identity of this name if its key is on several tokens, unless a token has the name."""
    section = configuration.identities.get(name)
    if section is None or section.tokens is None or name in configuration.tokens:
        return None
    access = find_identity(name, configuration)
    if not isinstance(access.key, GroupAccess):
        return None
    group = choose_pin(access.key, parse_pin_option(pin), choose_pin_prompt())
    return (access, group) if isinstance(group, GroupAccess) else None


def show_group(access: IdentityAccess, group: GroupAccess, events: Path | None, *, json: bool) -> None:
    """Log in to each token, sign with each, and show the state of its breaker and its last fault."""
    status = inspect_group(access, group, events)
    if json:
        output.write_json("token-group-info", group_json(status))
    else:
        print_group(status)
    if not status.is_working:
        raise typer.Exit(_exit_status(status))


def check_group(access: IdentityAccess, group: GroupAccess, events: Path | None, *, json: bool) -> None:
    """Test the key on each token, then the group. Fails unless every token can be used."""
    checks: dict[str, TokenCheck | TokenError] = {}
    for token in group.tokens:
        name = token.name or ""
        try:
            with token.open() as connection:
                connection.connect()
                with output.working(f"Logged in to {name}", quiet=json) as tell:
                    checks[name] = check_token(connection, token.uri, KeyPolicy(allow=access.weaknesses), tell)
        except TokenError as error:
            checks[name] = error
    status = inspect_group(access, group, events)
    if json:
        tested = {
            name: {"problem": str(one), "check": None}
            if isinstance(one, TokenError)
            else {"problem": None, "check": check_json(one)}
            for name, one in checks.items()
        }
        output.write_json("token-group-check", group_json(status) | {"tokens": tested})
    else:
        for name, one in checks.items():
            if isinstance(one, TokenError):
                output.outcome(False, f"{output.shown(name)}: {output.shown(str(one))}")
            else:
                print_check(one)
            print()
        print_group(status)
        print_group_verdict(status)
    ready = all(isinstance(one, TokenCheck) and is_ready_for_dicom(one) for one in checks.values())
    raise typer.Exit(exits.OK if ready and status.is_complete else _exit_status(status))


def _exit_status(status: GroupStatus) -> int:
    """Return the status for a group with a token that cannot be used: that of a refused PIN if all refused theirs."""
    faults = [member.fault for member in status.members]
    refused = all(fault is not None and issubclass(fault.kind, PinError) for fault in faults)
    return exits.REFUSED if refused else exits.FAILED
