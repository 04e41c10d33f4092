"""`hsm-dicom check-config`: report every problem of a configuration at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Verbose, WarnDays

if TYPE_CHECKING:
    from hsm_dicom.node.check_report import CheckedRoute, ConfigurationReport

EXAMPLE = "Example: hsm-dicom check-config --config /etc/hsm-dicom/hsm-dicom.toml"


def check_config(
    no_login: Annotated[
        bool, typer.Option("--no-login", help="Present no PIN; keys on tokens are then not checked.")
    ] = False,
    warn_days: WarnDays = 30,
    fail_if_expiring: Annotated[
        bool,
        typer.Option("--fail-if-expiring", help="Fail, too, if a certificate or CRL expires within --warn-days."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail, too, if there is a warning.")] = False,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="NAME",
            show_default=False,
            help="Instead, report what meets a document: bcp195, tr02102 or fips140. Repeatable.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check the configuration and everything that it names.

    That is: files and their rights, tokens, PINs, keys, certificates and their dates. Each PIN is presented once,
    unless --no-login is given.
    """
    from hsm_dicom.cli.context import require_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.config import Severity
    from hsm_dicom.node.check import check_configuration

    file = require_configuration(config)
    if report:
        raise typer.Exit(_compare(file, report, json=json))
    with output.working("Reading the configuration", quiet=json) as show:
        checked = check_configuration(file, log_in=not no_login, warning=timedelta(days=warn_days), progress=show)
    if json:
        output.write_json("check-config", _report_json(checked))
    else:
        _print_report(checked)
    is_expiring = fail_if_expiring and checked.is_expiring
    is_refused = is_expiring or (strict and checked.count(Severity.WARNING) > 0)
    raise typer.Exit(exits.OK if checked.is_usable and not is_refused else exits.FAILED)


def _compare(file: Path, names: list[str], *, json: bool) -> int:
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.preset_report import make_preset_json, print_preset
    from hsm_dicom.node import read_plan
    from hsm_dicom.node.plan import raise_errors
    from hsm_dicom.node.presets import PRESETS, report_preset

    for name in names:
        if name not in PRESETS:
            known = ", ".join(PRESETS)
            raise typer.BadParameter(f"There is no document '{name}'. There are: {known}.", param_hint="--report")
    plan = read_plan(file)
    raise_errors(plan.problems)
    reports = [report_preset(plan, PRESETS[name]) for name in names]
    for report in reports:
        if json:
            output.write_json("preset-report", make_preset_json(report))
        else:
            print_preset(report)
    return exits.OK if all(report.meets for report in reports) else exits.FAILED


def _print_report(report: ConfigurationReport) -> None:
    from hsm_dicom.cli.render import output
    from hsm_dicom.config import Severity

    for problem in report.problems:
        style = output.BAD if problem.severity is Severity.ERROR else output.UNSURE
        output.say((output.shown(problem.place), "bold"))
        output.say((problem.severity.value, style), f": {output.shown(problem.text)}", indent=2)
        if problem.remedy:
            output.say(output.shown(problem.remedy), indent=2)
    if report.problems:
        print()
    for name in report.tokens:
        output.outcome(True, f"Token {output.shown(name)} accepted its PIN.")
    for identity in report.identities:
        until = f"{identity.not_after:%Y-%m-%d}"
        unfit = f"; not for {' or '.join(identity.unfit_roles)}" if identity.unfit_roles else ""
        output.outcome(
            True,
            f"Identity {output.shown(identity.name)} is {output.shown(identity.subject)}, until {until}{unfit}.",
        )
    for name, keys in report.secret_keys.items():
        output.outcome(True, f"{output.shown(name)}: its devices have {keys}.")
    for route in report.routes:
        _print_route(route)
    for name in report.not_checked:
        output.say(("?", output.UNSURE), f" {output.shown(name)}: its keys were not checked (no login).")
    verdict = "can be used" if report.is_usable else "cannot be used"
    counts = ", ".join(
        output.count(report.count(severity), severity.value)
        for severity in Severity
        if severity is not Severity.NOTE or report.count(severity)
    )
    output.outcome(
        report.is_usable,
        f"{output.shown(str(report.file))} {verdict}: {counts}.",
    )


def _print_route(route: CheckedRoute) -> None:
    from hsm_dicom.cli.render import output

    sources, called = ", ".join(route.sources), ", ".join(route.called)
    key, where = route.entrance
    what = f"Route {route.name}: {sources} to {route.target} by {route.transport}, {key} {where}, called {called}; "
    what += f"{', '.join(route.services)}; objects: {route.objects}."
    if route.is_ready is None:
        output.say(("?", output.UNSURE), f" {output.shown(what)} Its keys were not checked (no login).")
    else:
        output.outcome(route.is_ready, output.shown(what))
    for device in route.plain_readers:
        services = " and ".join(route.reading_services)
        what = f"Plain device {device} may read patients' data from {route.target} ({services}, route {route.name}). "
        what += "So can anyone who takes its address and AE title."
        output.say(("!", output.UNSURE), f" {output.shown(what)}")


def _report_json(report: ConfigurationReport) -> dict[str, Any]:
    from hsm_dicom.cli.render.output import timestamp

    return {
        "file": str(report.file),
        "usable": report.is_usable,
        "expiring": report.is_expiring,
        "problems": [
            {
                "severity": problem.severity.value,
                "file": str(problem.file),
                "line": problem.line,
                "column": problem.column,
                "key": problem.key or None,
                "text": problem.text,
                "remedy": problem.remedy or None,
            }
            for problem in report.problems
        ],
        "tokens": list(report.tokens),
        "identities": [
            {
                "name": identity.name,
                "subject": identity.subject,
                "not_after": timestamp(identity.not_after),
                "unfit_roles": list(identity.unfit_roles),
            }
            for identity in report.identities
        ],
        "secret_keys": report.secret_keys,
        "not_checked": list(report.not_checked),
        "routes": [
            {
                "name": route.name,
                "from": list(route.sources),
                "entrance": dict([route.entrance]),
                "to": route.target,
                "transport": route.transport,
                "called": list(route.called),
                "services": list(route.services),
                "objects": route.objects,
                "plain_readers": list(route.plain_readers),
                "reading_services": list(route.reading_services),
                "ready": route.is_ready,
            }
            for route in report.routes
        ],
    }
