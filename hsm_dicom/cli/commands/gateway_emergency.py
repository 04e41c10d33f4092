"""`hsm-dicom gateway emergency`: run a route with less protection, for a reason and until a day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli.options import Config, Json, Operator, Verbose, route_names

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_dicom.config import Configuration
    from hsm_dicom.gateway.emergency import EmergencySetting, EmergencyStore
    from hsm_dicom.gateway.events import EmergencySettingChanged

EXAMPLE = (
    "Example: hsm-dicom gateway emergency to-pacs --plain 10.1.2.3:104 --reason 'HSM broken, ticket 4711' "
    "--until 2027-01-15"
)


def emergency(
    route: Annotated[
        str | None,
        typer.Argument(
            metavar="ROUTE", show_default=False, autocompletion=route_names, help="Its NAME in the configuration."
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option("--objects", metavar="pass", show_default=False, help="pass: relay objects, and examine nothing."),
    ] = None,
    plain: Annotated[
        str | None,
        typer.Option(
            "--plain",
            metavar="HOST:PORT",
            show_default=False,
            help="Connect to this address of the target without TLS or ISCL: anyone on the way can read and change "
            "everything.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Why; it is recorded and shown.")
    ] = "",
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="DATE", show_default=False, help="The last day, at most 90 days ahead, as in 2027-01-15."
        ),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End the emergency setting of the route.")] = False,
    list_settings: Annotated[bool, typer.Option("--list", help="List the settings that are active.")] = False,
    config: Config = None,
    operator: Operator = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a route with less protection in an emergency, until a day that you give.

    A gateway that runs uses the setting at once, for new associations. It is recorded, shown in red on the status page
    and reported by the alarms, and it ends by itself after its last day (in UTC).
    """
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.gateway.emergency import EmergencyStore
    from hsm_dicom.node.gateway.opening import find_state_folder

    begins = objects is not None or plain is not None
    if sum([begins, end, list_settings]) != 1:
        raise typer.BadParameter("Give --objects pass or --plain HOST:PORT (or both), or --end, or --list.")
    if objects not in (None, "pass"):
        raise typer.BadParameter(f"'{objects}' is no setting for an emergency; give pass.", param_hint="--objects")
    with open_configuration(config) as configuration:
        folder = find_state_folder(configuration)
        store, change = EmergencyStore(folder), None
        if not list_settings:
            if route is None:
                raise typer.BadParameter("Give the name of the route.", param_hint="ROUTE")
            if end:
                change = _end(store, route)
            else:
                setting = _make_setting(route, objects is not None, plain, reason, until)
                change = _begin(store, setting, configuration, config)
        reloaded = change is not None and _reload(folder)
        if json:
            _write_json(store, change, reloaded)
        else:
            _print(store, change, reloaded)


def _make_setting(
    route: str, passes_objects: bool, plain: str | None, reason: str, until: str | None
) -> EmergencySetting:
    from hsm_dicom.gateway.emergency import EmergencySetting, parse_plain_address
    from hsm_dicom.operators import current_operator

    if not reason.strip():
        raise typer.BadParameter("Give the reason, such as 'HSM broken, ticket 4711'.", param_hint="--reason")
    try:
        last = date.fromisoformat(until or "")
    except ValueError:
        raise typer.BadParameter("Give the last day, such as 2027-01-15.", param_hint="--until") from None
    return EmergencySetting(
        route=route,
        passes_objects=passes_objects,
        plain=None if plain is None else parse_plain_address(plain),
        reason=reason,
        operator=current_operator().name,
        since=datetime.now(UTC).replace(microsecond=0),
        until=last,
    )


def _begin(
    store: EmergencyStore, setting: EmergencySetting, configuration: Configuration, config: Path | None
) -> EmergencySettingChanged:
    """Keep a setting that fits its route, and record it."""
    from hsm_dicom.config import find_configuration
    from hsm_dicom.config.devices import NotConfiguredError
    from hsm_dicom.events import emit
    from hsm_dicom.gateway.emergency import apply_emergency
    from hsm_dicom.node.compiler import read_plan
    from hsm_dicom.trust.clock import current_date

    if setting.route not in configuration.routes:
        raise NotConfiguredError(
            f"The configuration has no route '{setting.route}'; its routes: "
            f"{', '.join(configuration.routes) or 'none'}.",
            remedy="Give the name of one of these.",
        )
    file = find_configuration(config)
    plan = None if file is None else read_plan(file).routes.get(setting.route)
    if plan is not None:  # in an emergency, what the route names may be broken
        apply_emergency(plan.settings, setting)
    store.put(setting, current_date())
    event = setting.make_event("begun")
    emit(event)
    return event


def _end(store: EmergencyStore, route: str) -> EmergencySettingChanged:
    """Remove the setting of a route, and record it."""
    from hsm_dicom.events import emit
    from hsm_dicom.gateway.emergency import EmergencySettingError

    removed = store.remove(route)
    if removed is None:
        raise EmergencySettingError(
            f"Route '{route}' has no emergency setting.", remedy="List them with hsm-dicom gateway emergency --list."
        )
    event = removed.make_event("ended")
    emit(event)
    return event


def _reload(folder: Path) -> bool:
    """Make the gateway that runs read its settings again; return False if none runs."""
    import signal

    from hsm_dicom.node.gateway.lock import find_running_gateway

    running = find_running_gateway(folder)
    if running is None:
        return False
    running.send(signal.SIGHUP)
    return True


def _read_active(store: EmergencyStore) -> list[EmergencySetting]:
    from hsm_dicom.trust.clock import current_date

    return list(store.read_active(current_date()).values())


def _write_json(store: EmergencyStore, change: EmergencySettingChanged | None, reloaded: bool) -> None:
    from hsm_dicom.cli.render import output

    content = {
        "route": None if change is None else change.name,
        "change": None if change is None else change.change,
        "reloaded": reloaded,
        "settings": [_format(one) for one in _read_active(store)],
    }
    output.write_json("gateway-emergency", content)


def _format(setting: EmergencySetting) -> dict[str, Any]:
    from hsm_dicom.cli.render import output

    return {
        "route": setting.route,
        "objects": "pass" if setting.passes_objects else None,
        "plain": None if setting.plain is None else {"host": setting.plain[0], "port": setting.plain[1]},
        "reason": setting.reason,
        "operator": setting.operator,
        "since": output.timestamp(setting.since),
        "until": setting.until.isoformat(),
    }


def _print(store: EmergencyStore, change: EmergencySettingChanged | None, reloaded: bool) -> None:
    from hsm_dicom.cli.render import output

    if change is not None:
        output.outcome(True, output.shown(change.text))
        output.say(
            "The gateway that runs reads its settings again; open associations go on as they began."
            if reloaded
            else "No gateway runs with this state folder; the next one that starts uses this.",
            indent=2,
        )
        return
    settings = _read_active(store)
    for one in settings:
        output.say((output.shown(one.route), "bold"), (f": {output.shown(one.setting)}", output.BAD))
        since = f"{one.since:%Y-%m-%d %H:%M} UTC"
        output.facts([("until", f"{one.until}"), ("reason", one.reason), ("operator", one.operator), ("since", since)])
    if not settings:
        output.outcome(True, "All routes run as configured.")
