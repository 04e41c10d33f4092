"""`hsm-dicom echo`, `store` and `listen`: DICOM over TLS or ISCL with peers of the configuration."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Pin, Verbose, listener_names, peer_names

if TYPE_CHECKING:
    from hsm_dicom.network.store import FileOutcome
    from hsm_dicom.node.service import Service
    from hsm_dicom.node.systemd import ServiceManager
    from hsm_dicom.transport.events import ReadinessChanged
    from hsm_dicom.transport.port import ConnectionFacts

ECHO_EXAMPLE = "Example: hsm-dicom echo pacs"
STORE_EXAMPLE = "Example: hsm-dicom store pacs ct/"
LISTEN_EXAMPLE = "Example: hsm-dicom listen main"

PeerName = Annotated[
    str,
    typer.Argument(
        metavar="PEER", show_default=False, autocompletion=peer_names, help="A peer: its NAME in the configuration."
    ),
]


def echo(
    peer: PeerName,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE",
            show_default=False,
            help="With ISCL: write every message of the connection to a new file, for hsm-dicom iscl trace.",
        ),
    ] = None,
    pin: Pin = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ask a peer whether it answers (C-ECHO), and show as whom and over what."""
    from hsm_dicom.cli.context import open_plan, parse_pin_option
    from hsm_dicom.cli.recording import record_exchange
    from hsm_dicom.cli.render import output
    from hsm_dicom.network.echo import echo as ask
    from hsm_dicom.node.opening import open_peer

    with (
        open_plan(config) as plan,
        record_exchange(plan, peer, record) as hooks,
        open_peer(plan, peer, pin=parse_pin_option(pin), hooks=hooks) as found,
        output.working(f"Asking {peer}", quiet=json),
    ):
        result = ask(*found)
    if json:
        content = {
            "peer": peer,
            "succeeded": result.done,
            "status": result.status,
            "seconds_to_associate": result.seconds_to_associate,
            "seconds_to_answer": result.seconds_to_answer,
            "connection": format_connection(result.facts),
        }
        output.write_json("echo", content)
    else:
        answered = f"{output.shown(peer)} answered in {result.seconds_to_answer * 1000:.0f} ms"
        output.outcome(result.done, f"{answered} (status {result.status:04X}).")
        print_connection(result.facts)
    if not result.done:
        raise typer.Exit(exits.FAILED)


def store(
    peer: PeerName,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="DICOM files, or folders of them.", show_default=False)
    ],
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts", min=1, max=20, help="How many associations in a row may end without a file stored in them."
        ),
    ] = 3,
    pin: Pin = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Send files to a peer (C-STORE), byte for byte, so that signatures stay valid."""
    from hsm_dicom.cli.context import open_plan, parse_pin_option
    from hsm_dicom.cli.render import output
    from hsm_dicom.network.store import expand_folders
    from hsm_dicom.network.store import store as send
    from hsm_dicom.node.opening import open_peer

    count = sum(1 for _ in expand_folders(files))
    with (
        open_plan(config) as plan,
        open_peer(plan, peer, pin=parse_pin_option(pin)) as (found, transport, calling),
        output.progress(f"Sending to {peer}", count, quiet=json) as advance,
    ):

        def report(outcome: FileOutcome) -> None:
            advance()
            if json:
                output.write_json("store", _outcome_json(outcome))
            elif not outcome.done:
                output.complain(str(outcome.path), outcome.text)

        result = send(found, transport, calling, files, attempts=attempts, progress=report)
    sent = sum(outcome.done for outcome in result.outcomes)
    failed = len(result.outcomes) - sent
    if json:
        content = {
            "peer": peer,
            "sent": sent,
            "failed": failed,
            "seconds": result.seconds,
            "connection": format_connection(result.facts) if result.facts else None,
        }
        output.write_json("store-summary", content)
    else:
        left = f", {output.count(failed, 'file')} not" if failed else ""
        output.outcome(not failed, f"{output.count(sent, 'file')} sent to {peer}{left}, in {result.seconds:.1f} s.")
        if result.facts:
            print_connection(result.facts)
    if failed:
        raise typer.Exit(exits.FAILED)


def listen(
    listener: Annotated[
        str | None,
        typer.Argument(
            metavar="LISTENER",
            show_default=False,
            autocompletion=listener_names,
            help="Its NAME in the configuration; not needed if there is only one.",
        ),
    ] = None,
    pin: Pin = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Accept associations (C-ECHO, C-STORE) until SIGTERM or Ctrl-C; SIGHUP reloads certificates, trust and peers.

    Each connection, association and instance is one line; with --json, one event.
    """
    import signal
    from functools import partial

    from hsm_dicom.cli.context import open_configuration, parse_pin_option
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.event_lines import make_event_printer
    from hsm_dicom.cli.runs.device_waits import device_waits
    from hsm_dicom.cli.runs.termination import SignalQueue
    from hsm_dicom.config import find_configuration
    from hsm_dicom.config.devices import NotConfiguredError
    from hsm_dicom.events import subscribe
    from hsm_dicom.node.clock import ClockWatch
    from hsm_dicom.node.compiler import read_plan
    from hsm_dicom.node.gateway.opening import find_state_folder
    from hsm_dicom.node.opening import open_listener
    from hsm_dicom.node.service import Service
    from hsm_dicom.node.systemd import PassedSockets, ServiceManager
    from hsm_dicom.transport.events import ReadinessChanged

    sockets = PassedSockets.take_from()
    file = find_configuration(config)
    if file is None:
        raise NotConfiguredError(
            "There is no configuration file.",
            remedy="Write ./hsm-dicom.toml with [listeners.NAME], or give another file with --config.",
        )
    signals, manager = SignalQueue(), ServiceManager()
    device_waits.reload_on_hangup()
    signals.collect(signal.SIGHUP)  # a reload that is asked for during the start follows it
    with (
        open_configuration(file) as configuration,
        subscribe(make_event_printer(json)),
        ClockWatch(find_state_folder(configuration)),
        Service(lambda: open_listener(read_plan(file), listener, pin=parse_pin_option(pin)), sockets) as service,
    ):
        sockets.check_all_taken([service.settings.name])
        signals.collect(signal.SIGTERM, signal.SIGINT)
        if not json:
            with output.going_on_unread():
                _print_listening(service)
        with (
            subscribe(partial(_report_readiness, manager), ReadinessChanged),
            manager.watched(service.ping),
        ):
            manager.report_ready(_describe_state(service))
            while signals.get() == signal.SIGHUP:
                with manager.reloading(lambda: _describe_state(service)):
                    service.reload()
        manager.report_stopping("Waiting for open associations.", service.settings.limits.stop_seconds)
        device_waits.grant(service.settings.limits.stop_seconds)
    if not json:
        with output.going_on_unread():
            output.say("The listener has stopped.")


def _report_readiness(manager: ServiceManager, event: ReadinessChanged) -> None:
    manager.report_status(event.text)


def _describe_state(service: Service) -> str:
    """Return the line of `systemctl status`."""
    return f"{service.settings.name}: not ready: {service.problem}" if service.problem else "Listening."


def _print_listening(service: Service) -> None:
    from hsm_dicom.cli.render import output

    settings, (host, port) = service.settings, service.address
    profile = settings.legacy.profile if settings.legacy else settings.profile.name
    tls = f"{profile}, {settings.authentication} authentication"
    iscl = settings.iscl
    if iscl is not None:
        tls = f"ISCL in {tls}" if iscl.over_tls else "ISCL (retired)"
    output.outcome(True, f"{settings.ae_title} listens on {host} port {port}.")
    output.facts(
        [
            ("profile", tls),
            (
                "peers",
                ", ".join(output.shown(peer.name) for peer in settings.peers) or "none: every caller is rejected",
            ),
            ("stores", str(settings.storage.folder) if settings.storage else "nothing; Verification only"),
        ]
    )


def format_connection(facts: ConnectionFacts) -> dict[str, Any]:
    """Return a connection as JSON."""
    certificate = facts.certificate
    return {
        "transport": facts.transport,
        "profile": facts.profile,
        "version": facts.version,
        "suite": facts.suite,
        "resumed": facts.resumed,
        "subject": certificate.subject if certificate else None,
        "serial": certificate.serial if certificate else None,
        "spki_sha256": certificate.spki_sha256 if certificate else None,
        "entity": facts.entity,
        "algorithms": asdict(facts.algorithms) if facts.algorithms else None,
    }


def print_connection(facts: ConnectionFacts) -> None:
    """Print a connection."""
    from hsm_dicom.cli.render import output

    rows = [("connection", f"{facts.version}, {facts.suite}"), ("profile", facts.profile)]
    if facts.entity is not None:
        rows = [("calls itself", output.shown(facts.entity)), *rows]
    if facts.certificate:
        rows = [("certificate", f"{facts.certificate.subject} (serial {facts.certificate.serial})"), *rows]
    output.facts(rows)


def _outcome_json(outcome: FileOutcome) -> dict[str, Any]:
    return {
        "file": str(outcome.path),
        "sop_instance_uid": outcome.sop_instance_uid or None,
        "stored": outcome.done,
        "status": outcome.status,
        "text": outcome.text,
        "attempts": outcome.attempts,
    }
