"""Events of the network as lines on standard output, while a listener or a gateway runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

from hsm_dicom.cli.render import output
from hsm_dicom.events import Event, EventLostError, as_json
from hsm_dicom.iscl import IsclFailed, IsclReady
from hsm_dicom.transport.events import NetworkEvent, log
from tokens.events import FailedOver, Restored


def make_event_printer(json: bool) -> Callable[[Event], None]:
    """Return a subscriber that prints each event of the network, and which token of a key is used.

    When nobody reads the output any more, the log says so once, and the events count as lost.
    """
    is_reported = False

    def print_event(event: Event) -> None:
        if not isinstance(event, NetworkEvent | IsclReady | IsclFailed | FailedOver | Restored):
            return
        if isinstance(event, IsclFailed) and not event.authenticated:
            return  # a failed handshake is printed as a network event
        nonlocal is_reported
        now = datetime.now(UTC)
        line = as_json(event, now) if json else f"{now:%Y-%m-%d %H:%M:%S}  {output.shown(event.describe())}"
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except OSError as error:
            if not is_reported:
                log.error("Events are no longer printed: standard output cannot be written (%s).", error.strerror)
            is_reported = True
            raise EventLostError("The event was not printed.") from error
        is_reported = False

    return print_event
