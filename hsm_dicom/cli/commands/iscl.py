"""`hsm-dicom iscl`: explain a recorded ISCL exchange."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Verbose, peer_names

if TYPE_CHECKING:
    from hsm_dicom.iscl.tracing.trace import Explained
    from hsm_dicom.iscl.wire.profile import WireProfile
    from hsm_dicom.node.plan import NodePlan

app = typer.Typer(
    help="ISCL (retired): explain a recorded exchange.",
    no_args_is_help=True,
)


@app.command("trace", epilog="Example: hsm-dicom iscl trace exchange.txt")
def trace(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A recording; see docs/explanation/iscl.md.")
    ],
    peer: Annotated[
        str | None,
        typer.Option(
            "--peer",
            metavar="PEER",
            show_default=False,
            autocompletion=peer_names,
            help="Read it with the wire profile of this peer; by default, with the default profile.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Explain each message of a recorded exchange. No keys are needed.

    Anyone who has a recording can search for the authentication key, and read what was sent without encryption.
    """
    from hsm_dicom.cli.context import open_plan
    from hsm_dicom.cli.render import output
    from hsm_dicom.iscl.tracing.recording import load_exchange
    from hsm_dicom.iscl.tracing.trace import explain

    exchange = load_exchange(file)
    if peer is None:
        explained = explain(exchange)
    else:
        with open_plan(config) as plan:
            explained = explain(exchange, _profile(plan, peer))
    remarks = sum(message.remark is not None for message in explained)
    if json:
        content = {"file": str(file), "remarks": remarks, "messages": [_message_json(message) for message in explained]}
        output.write_json("iscl-trace", content)
    else:
        for message in explained:
            _print_message(message)
        wrong = output.count(remarks, "remark") if remarks else "nothing wrong"
        output.outcome(not remarks, f"{output.count(len(explained), 'message')}, {wrong}.")
    if remarks:
        raise typer.Exit(exits.FAILED)


def _profile(plan: NodePlan, name: str) -> WireProfile:
    """Return the ISCL wire profile of a peer. Raises `SettingsError` for a peer without ISCL."""
    from hsm_dicom.network.errors import SettingsError

    opening = plan.peer(name).peer.iscl
    if opening is None:
        raise SettingsError(f"Peer '{name}' does not speak ISCL: there is no [peers.{name}.iscl] in the configuration.")
    return opening.settings.profile


def _print_message(message: Explained) -> None:
    from hsm_dicom.cli.render import output

    leads = f" -> {message.state}" if message.state else ""
    output.say(f"{message.number:4} {message.sender:6} ", (message.name, "bold"), (leads, output.QUIET))
    for fact in message.facts:
        output.say(output.shown(fact), indent=12)
    if message.remark:
        output.say(("!", output.BAD), f" {output.shown(message.remark)}", indent=12, hang=2)


def _message_json(message: Explained) -> dict[str, Any]:
    return {
        "number": message.number,
        "sender": message.sender.value,
        "name": message.name,
        "facts": list(message.facts),
        "state": message.state.value if message.state else None,
        "remark": message.remark,
    }
