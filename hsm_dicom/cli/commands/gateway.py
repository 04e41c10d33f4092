"""`hsm-dicom gateway`: run the routes of the configuration, check them, show what runs, and end it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.gateway_emergency import EXAMPLE as EMERGENCY_EXAMPLE
from hsm_dicom.cli.commands.gateway_emergency import emergency
from hsm_dicom.cli.options import Config, Json, Pin, Verbose

if TYPE_CHECKING:
    from hsm_dicom.gateway.settings import StatusSettings
    from hsm_dicom.node.gateway import GatewayService
    from hsm_dicom.node.gateway.check import RouteCheck
    from hsm_dicom.node.systemd import ServiceManager
    from hsm_dicom.transport.events import ReadinessChanged

app = typer.Typer(
    help="Gateway: relay associations of devices that support neither TLS nor ISCL.",
    no_args_is_help=True,
)
_URGE_SECONDS = 1.0


@app.command("run", epilog="Example: hsm-dicom gateway run")
def run(pin: Pin = None, config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """Relay associations on all routes until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.

    Each connection, association and instance is one line; with --json, one event. A reload changes everything or, if
    anything in the configuration fails, nothing. SIGTERM and Ctrl-C let open associations go on for drain_seconds; the
    next one aborts them at once.
    """
    import signal
    from functools import partial

    from hsm_dicom.cli.context import open_configuration, parse_pin_option
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.event_lines import make_event_printer
    from hsm_dicom.cli.runs.device_waits import device_waits
    from hsm_dicom.cli.runs.termination import SignalQueue
    from hsm_dicom.events import subscribe
    from hsm_dicom.node.gateway import GatewayService, open_gateway
    from hsm_dicom.node.gateway.lock import hold_gateway_lock
    from hsm_dicom.node.gateway.opening import find_state_folder
    from hsm_dicom.node.systemd import PassedSockets, ServiceManager
    from hsm_dicom.transport.events import ReadinessChanged

    sockets = PassedSockets.take_from()
    file = _require_file(config)
    signals, manager = SignalQueue(), ServiceManager()
    device_waits.reload_on_hangup()
    signals.collect(signal.SIGHUP)  # a reload that is asked for during the start follows it
    with open_configuration(file) as configuration:
        folder = find_state_folder(configuration)
        with (
            hold_gateway_lock(folder),
            subscribe(make_event_printer(json)),
            GatewayService(partial(open_gateway, file, pin=parse_pin_option(pin)), folder, sockets=sockets) as service,
        ):
            signals.collect(signal.SIGTERM, signal.SIGINT)
            if not json:
                with output.going_on_unread():
                    _print_running(service)
            with (
                subscribe(partial(_report_readiness, manager), ReadinessChanged),
                manager.watched(service.ping),
            ):
                manager.report_ready(_describe_state(service))
                while signals.get() == signal.SIGHUP:
                    with manager.reloading(lambda: _describe_state(service)):
                        service.reload()
            manager.report_stopping("Draining.", service.stop_seconds)
            device_waits.grant(service.stop_seconds)
            service.drain(_hurry_at_signal(signals), lambda left: _report_drain(manager, left, json))
            device_waits.grant(0)  # nothing needs a device any more
    if not json:
        with output.going_on_unread():
            output.say("The gateway has stopped.")


@app.command("check", epilog="Example: hsm-dicom gateway check")
def check(pin: Pin = None, config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """Send a C-ECHO to the target of each route, as the gateway would, and report which side fails and why.

    Also checks the address at which callers of the route arrive. A gateway that runs is not disturbed.
    """
    from hsm_dicom.cli.context import open_configuration, parse_pin_option
    from hsm_dicom.cli.render import output
    from hsm_dicom.node.gateway.check import check_gateway

    file = _require_file(config)
    found = []
    with open_configuration(file), output.working("Checking the routes", quiet=json) as show:
        for one in check_gateway(file, pin=parse_pin_option(pin), progress=lambda name: show(f"route {name}")):
            found.append(one)
            if json:
                output.write_json("gateway-check", _check_json(one))
            else:
                _print_check(one)
    if any(one.failure is not None for one in found):
        raise typer.Exit(exits.FAILED)


@app.command("status", epilog="Example: hsm-dicom gateway status")
def status(config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """Show the state of the gateway that runs: what needs a person, routes, tokens, certificates and CRLs.

    It is read from the status page, so the configuration needs a table [status].
    """
    from hsm_dicom.cli.context import open_plan
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.gateway_report import gateway_json, print_gateway
    from hsm_dicom.gateway.pages import fetch_status

    with open_plan(_require_file(config)) as plan:
        found = fetch_status(_require_status(plan.gateway.status))
    if json:
        output.write_json("gateway-status", gateway_json(found))
    else:
        print_gateway(found)
    if not found.is_ready:
        raise typer.Exit(exits.FAILED)


@app.command("drain", epilog="Example: hsm-dicom gateway drain")
def drain(
    now: Annotated[bool, typer.Option("--now", help="Abort open associations at once.")] = False,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Stop the gateway that runs with this configuration, and wait until it has ended.

    It accepts no more associations; those that are open may go on for drain_seconds.
    """
    import signal
    import time

    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.node.compiler import read_plan
    from hsm_dicom.node.gateway.lock import NoGatewayError, require_running_gateway
    from hsm_dicom.node.gateway.opening import find_state_folder

    file = _require_file(config)
    with open_configuration(file) as configuration:
        gateway = require_running_gateway(find_state_folder(configuration))
        page = read_plan(file).gateway.status
    began = last = time.monotonic()
    gateway.send(signal.SIGTERM)
    with output.working(f"Waiting for the gateway (process {gateway.process}) to end", quiet=json) as show:

        def urge() -> None:
            nonlocal last
            if time.monotonic() - last < _URGE_SECONDS:
                return
            last = time.monotonic()
            if now:
                with suppress(NoGatewayError):  # it has just ended
                    gateway.send(signal.SIGTERM)
            left = _count_associations(page)
            if left is not None:
                show(f"{output.count(left, 'association')} open")

        gateway.wait(urge)
    seconds = time.monotonic() - began
    if json:
        output.write_json("gateway-drain", {"process": gateway.process, "seconds": seconds})
    else:
        output.outcome(True, f"The gateway (process {gateway.process}) ended after {seconds:.1f} s.")


app.command("emergency", epilog=EMERGENCY_EXAMPLE)(emergency)


# -- running -------------------------------------------------------------------------------------------------


def _require_file(config: Path | None) -> Path:
    from hsm_dicom.config import find_configuration
    from hsm_dicom.config.devices import NotConfiguredError

    file = find_configuration(config)
    if file is None:
        raise NotConfiguredError(
            "There is no configuration file.",
            remedy="Write ./hsm-dicom.toml with [routes.NAME], or give another file with --config.",
        )
    return file


def _require_status(settings: StatusSettings | None) -> StatusSettings:
    from hsm_dicom.config.devices import NotConfiguredError

    if settings is None:
        raise NotConfiguredError(
            "The configuration has no status page.",
            remedy='Add the table [status] with listen = "127.0.0.1:9762" to the file, and restart the gateway.',
        )
    return settings


def _hurry_at_signal(signals: Any) -> Any:
    """Return an event that is set when the next signal asks the gateway to end."""
    import signal
    import threading

    from hsm_dicom.cli.runs.device_waits import device_waits

    hurry = threading.Event()

    def wait() -> None:
        while signals.get() == signal.SIGHUP:
            pass
        device_waits.grant(0)
        hurry.set()

    threading.Thread(target=wait, name="hurry", daemon=True).start()
    return hurry


def _report_readiness(manager: ServiceManager, event: ReadinessChanged) -> None:
    manager.report_status(event.text)


def _report_drain(manager: ServiceManager, left: int, json: bool) -> None:
    from hsm_dicom.cli.render import output

    text = f"Draining: {output.count(left, 'association')} open."
    manager.report_status(text)
    if not json:
        with output.going_on_unread():
            output.say(text)


def _describe_state(service: GatewayService) -> str:
    """Return the line of `systemctl status`."""
    from hsm_dicom.cli.render import output

    return f"Not ready: {service.problem}" if service.problem else f"{output.count(len(service.routes), 'route')}."


def _print_running(service: GatewayService) -> None:
    from hsm_dicom.cli.render import output
    from hsm_dicom.network.addresses import format_address

    output.outcome(True, f"The gateway runs {output.count(len(service.routes), 'route')}.")
    rows = []
    for name, route in service.routes.items():
        settings = route.settings
        entrance = settings.listener or settings.socket
        if settings.listen is not None:
            entrance = format_address(settings.listen)
        sources = ", ".join(output.shown(source.name) for source in settings.sources)
        target = f"{output.shown(settings.target.name)} ({route.transport})"
        rows.append((name, f"{sources} on {format_address(service.addresses[entrance or ''])} to {target}"))
    page = service.page
    if page is not None:
        address = page.address
        rows.append(("status", str(address) if isinstance(address, Path) else f"http://{format_address(address)}/"))
    output.facts(rows)


def _count_associations(page: StatusSettings | None) -> int | None:
    """Return how many associations the gateway has open; None if its status page does not say."""
    from hsm_dicom.gateway.pages import fetch_status
    from hsm_dicom.gateway.pages.doors import StatusPageError

    if page is None:
        return None
    try:
        return sum(route.associations for route in fetch_status(page, seconds=1.0).routes)
    except StatusPageError:
        return None


# -- checking ------------------------------------------------------------------------------------------------


def _print_check(one: RouteCheck) -> None:
    from hsm_dicom.cli.commands.network import print_connection
    from hsm_dicom.cli.render import output

    who = f"{output.shown(one.target)} (as {output.shown(one.calling_ae_title)} to {output.shown(one.called_ae_title)})"
    if one.failure is None:
        output.outcome(True, f"{output.shown(one.route)}: {who} {one.text}.")
        if one.facts is not None and one.facts.is_secured:
            print_connection(one.facts)
    else:
        output.outcome(False, f"{output.shown(one.route)}: {one.failure.describe()}: {output.shown(one.text)}")
    if one.remark:
        output.say((f"callers: {output.shown(one.remark)}.", output.QUIET), indent=2)


def _check_json(one: RouteCheck) -> dict[str, Any]:
    from hsm_dicom.cli.commands.network import format_connection

    return {
        "route": one.route,
        "target": one.target,
        "calling_ae_title": one.calling_ae_title,
        "called_ae_title": one.called_ae_title,
        "succeeded": one.failure is None,
        "failure": one.failure,
        "text": one.text,
        "entrance_remark": one.remark,
        "seconds": one.seconds,
        "connection": None if one.facts is None else format_connection(one.facts),
    }
