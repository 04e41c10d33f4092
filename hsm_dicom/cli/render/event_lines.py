"""Events of the network as lines on standard output, while a listener or a gateway runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

from hsm_dicom.cli.render import output
from hsm_dicom.events import Event, as_json
from hsm_dicom.iscl import IsclFailed, IsclReady
from hsm_dicom.transport.events import NetworkEvent
from tokens.events import FailedOver, Restored


def make_event_printer(json: bool) -> Callable[[Event], None]:
    """Return a subscriber that prints each event of the network, and which token of a key is used."""

    def print_event(event: Event) -> None:
        if not isinstance(event, NetworkEvent | IsclReady | IsclFailed | FailedOver | Restored):
            return
        if isinstance(event, IsclFailed) and not event.authenticated:
            return  # a failed handshake is printed as a network event
        if json:
            sys.stdout.write(as_json(event, datetime.now(UTC)) + "\n")
        else:
            sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {output.shown(event.describe())}\n")
        sys.stdout.flush()

    return print_event
