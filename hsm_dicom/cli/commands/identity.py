"""`hsm-dicom identity`: which identity serves what, while one replaces another."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Operator, Pin, Record, Verbose, identity_names

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import Certificate

    from hsm_dicom.identity import Succession
    from hsm_dicom.node.identities.succession import SuccessionStatus
    from hsm_dicom.node.plan import NodePlan
    from tokens.errors import Error

app = typer.Typer(help="Identities: which one serves what, while a new key replaces an old one.", no_args_is_help=True)


@app.command("status", epilog="Example: hsm-dicom identity status node")
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            show_default=False,
            autocompletion=identity_names,
            help="An identity with next =, or its successor; by default, every one.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show each identity that has a successor: its stage, what each of both serves, and what is left to do.

    Each identity is opened, with the PIN of its token, to read its certificate.
    """
    from hsm_dicom.cli.context import open_plan
    from hsm_dicom.cli.errors import exit_status
    from hsm_dicom.cli.render import output
    from hsm_dicom.config.devices import NotConfiguredError
    from hsm_dicom.identity.errors import NoCertificateError
    from hsm_dicom.node.identities.succession import describe_succession
    from hsm_dicom.node.plan import raise_errors

    with open_plan(config) as plan:
        raise_errors(plan.problems)
        if name is not None and name not in plan.identities:
            raise NotConfiguredError(
                f"There is no identity '{name}' in the configuration; there: {', '.join(plan.identities) or 'none'}."
            )
        chosen = [one for one in plan.successions.values() if name in (None, one.name, one.successor)]
        certificates: dict[str, Certificate] = {}
        problems: dict[str, Error] = {}
        for identity in dict.fromkeys(one for pair in chosen for one in (pair.name, pair.successor)):
            _read_certificate(plan.identities[identity], certificates, problems)
        found = [describe_succession(plan, one.name, certificates) for one in chosen]
    if json:
        documents = [_status_json(one, certificates, problems) for one in found]
        output.write_json("identity-status", {"identities": documents})
    elif not found:
        output.say("No identity has a successor." if name is None else f"Identity {name} has no successor.")
    else:
        for one in found:
            _print_status(one, certificates, problems)
    failures = [error for error in problems.values() if not isinstance(error, NoCertificateError)]
    raise typer.Exit(max(map(exit_status, failures), default=exits.OK))


@app.command("rollover", epilog="Example: hsm-dicom identity rollover node --write")
def rollover(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", show_default=False, autocompletion=identity_names, help="An identity with next =."
        ),
    ],
    signs_from: Annotated[
        str | None,
        typer.Option(
            "--signs-from",
            metavar="DAY",
            show_default=False,
            help="Switch signatures, from this day in UTC, as in 2027-01-15; by default, TLS is switched.",
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Switch TLS back to the identity itself.")] = False,
    auto: Annotated[
        bool,
        typer.Option("--auto", help="Show peers that are called the successor first, and the identity if refused."),
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write the line into the configuration file.")] = False,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Switch an identity to its successor: check that the successor is ready, and write the line that switches.

    Opens the successor, signs with it, and checks its certificate. Without --write, the line is printed. A listener
    or gateway shows the successor after its next start or reload.
    """
    from hsm_dicom.cli.context import open_plan, parse_pin_option
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.identity import IdentityError, Use
    from hsm_dicom.node.identities.rollover import check_readiness, write_switch
    from hsm_dicom.node.identities.succession import find_tables

    day = _day(signs_from)
    if back and day is not None:
        raise typer.BadParameter("It is for TLS; leave --signs-from out.", param_hint="--back")
    if auto and (back or day is not None):
        raise typer.BadParameter("Give one of --auto, --back and --signs-from.", param_hint="--auto")
    _require_write(record, write)
    use = Use.TLS if day is None else Use.SIGNING
    shown = '"auto"' if auto else "false" if back else "true"
    key, value = ("next_in_tls", shown) if day is None else ("next_signs_from", day.isoformat())
    with keep_record("identity rollover", record) as ceremony, open_plan(config) as plan:
        one = _require_succession(plan, name)
        tables = find_tables(plan, name, one.successor)
        checks = [] if back else list(check_readiness(plan, name, use, pin=parse_pin_option(pin)))
        certificates = [check.certificate for check in checks if check.certificate is not None]
        ceremony.set_certificates(certificates)
        for check in checks:
            output.outcome(check.passed, output.shown(check.text))
            ceremony.record.add_check(check.text, check.passed)
        if not all(check.passed for check in checks):
            raise IdentityError(f"{one.successor} is not ready; nothing was written.")
        if write:
            made = write_switch(plan.file, one, key, value, certificates[0] if certificates else None)
    if write:
        output.outcome(True, output.shown(f"{made.path}: {made.change}."))
        ceremony.print()
    else:
        output.say(f"Write under [identities.{output.shown(name)}], or add --write:")
        output.say_verbatim(f"{key} = {value}", indent=2)
    if tables and use is Use.TLS:
        output.say(f"Then reload or start what uses {output.shown(', '.join(tables))}.")


@app.command("retire", epilog="Example: hsm-dicom identity retire node --write")
def retire(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            autocompletion=identity_names,
            help="An identity whose successor serves in its place.",
        ),
    ],
    write: Annotated[bool, typer.Option("--write", help="Write the change into the configuration file.")] = False,
    record: Record = None,
    operator: Operator = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """End a succession: check that nothing uses the old key, and give the identity's table that of its successor.

    With --write, the lines of the successor take the place of those of the identity, and the table of the successor is
    removed. No key is deleted.
    """
    from hsm_dicom.cli.context import open_plan
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.identity import IdentityError, Stage
    from hsm_dicom.node.identities.rollover import write_retirement
    from hsm_dicom.node.identities.succession import describe_succession

    _require_write(record, write)
    with keep_record("identity retire", record) as ceremony, open_plan(config) as plan:
        one = _require_succession(plan, name)
        certificates: dict[str, Certificate] = {}
        problems: dict[str, Error] = {}
        for identity in (name, one.successor):
            _read_certificate(plan.identities[identity], certificates, problems)
        if one.successor in problems:
            raise problems[one.successor]
        ceremony.set_certificates([certificates[each] for each in (name, one.successor) if each in certificates])
        found = describe_succession(plan, name, certificates)
        is_unused = found.stage is Stage.RETIRED
        ceremony.record.add_check(f"Nothing uses {name} any more.", is_unused)
        if not is_unused:
            raise IdentityError(f"{name} is still in use ({found.stage}). {found.next_step}")
        if write:
            made = write_retirement(plan.file, one, certificates[one.successor])
    if not write:
        change = f"[identities.{name}] has the lines of [identities.{one.successor}], which is removed"
        output.outcome(True, output.shown(f"Nothing uses {name} any more. With --write, {change}."))
        return
    output.outcome(True, output.shown(f"{made.path}: {made.change}."))
    ceremony.print()
    if found.tables:
        output.say(f"Reload or start what uses {output.shown(', '.join(found.tables))}.")
    output.say(output.shown(found.deletion))


def _require_write(record: Path | None, write: bool) -> None:
    if record is not None and not write:
        raise typer.BadParameter("Nothing is changed without --write; add it.", param_hint="--record")


def _require_succession(plan: NodePlan, name: str) -> Succession:
    from hsm_dicom.identity import IdentityError
    from hsm_dicom.node.plan import raise_errors

    raise_errors(plan.problems)
    if name not in plan.successions:
        known = ", ".join(plan.successions) or "none"
        raise IdentityError(
            f"No identity '{name}' has a successor; those that have one: {known}.",
            remedy=f'Write next = "OTHER" under [identities.{name}].',
        )
    return plan.successions[name]


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "Write the day as YYYY-MM-DD, such as 2027-01-15.", param_hint="--signs-from"
        ) from None


def _read_certificate(access: Any, certificates: dict[str, Certificate], problems: dict[str, Error]) -> None:
    """Open an identity for its certificate, or keep the error that says why it could not be opened."""
    from hsm_dicom.cli.context import choose_pin_prompt
    from tokens.errors import Error

    try:
        with access.open(default_pin=choose_pin_prompt()) as identity:
            certificates[access.name] = identity.certificate
    except Error as error:
        problems[access.name] = error


def _print_status(found: SuccessionStatus, certificates: dict[str, Certificate], problems: dict[str, Error]) -> None:
    from hsm_dicom.cli.errors import sentence
    from hsm_dicom.cli.render import output
    from hsm_dicom.tls.facts import spki_sha256

    one = found.succession
    output.say((output.shown(one.name), "bold"), f"  {found.stage}, its successor is {output.shown(one.successor)}")
    rows = []
    for name in (one.name, one.successor):
        certificate = certificates.get(name)
        if certificate is None:
            rows.append((output.shown(name), sentence(problems[name])))
            continue
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        subject = output.shown(certificate.subject.rfc4514_string())
        rows.append((output.shown(name), f"{subject}, valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"))
        rows.append(("", f"pin {spki_sha256(certificate)}"))
    if found.signs is not None:
        switch = f", {one.successor} from {one.signs_from}" if one.signs_from and found.signs == one.name else ""
        rows.append(("signatures", output.shown(f"{found.signs}{switch}")))
    if found.tables:
        rows.append(("TLS", output.shown(f"{found.in_tls} ({', '.join(found.tables)})")))
    rows.append(("next", output.shown(found.next_step)))
    output.facts(rows)


def _status_json(
    found: SuccessionStatus, certificates: dict[str, Certificate], problems: dict[str, Error]
) -> dict[str, Any]:
    from hsm_dicom.cli.errors import sentence
    from hsm_dicom.cli.render import output
    from hsm_dicom.tls.facts import spki_sha256

    def describe(name: str) -> dict[str, Any]:
        certificate = certificates.get(name)
        if certificate is None:
            return {"name": name, "problem": sentence(problems[name])}
        return {
            "name": name,
            "subject": certificate.subject.rfc4514_string(),
            "serial": f"{certificate.serial_number:x}",
            "not_before": output.timestamp(certificate.not_valid_before_utc),
            "not_after": output.timestamp(certificate.not_valid_after_utc),
            "spki_sha256": spki_sha256(certificate),
            "problem": None,
        }

    one = found.succession
    return {
        "stage": found.stage.value,
        "identity": describe(one.name),
        "successor": describe(one.successor),
        "signs": found.signs,
        "signs_from": None if one.signs_from is None else one.signs_from.isoformat(),
        "in_tls": found.in_tls,
        "tables": list(found.tables),
        "next_step": found.next_step,
    }
