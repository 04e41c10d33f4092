"""The tap of a route that inspects: events and counts of the messages that pass (PS3.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hsm_dicom.gateway.inspect.exchanges import Exchanges
from hsm_dicom.gateway.inspect.messages import Messages
from hsm_dicom.gateway.inspect.scanner import Scanner
from hsm_dicom.gateway.inspect.study import MOST_INFLATING, InflatingScanner, make_study_scanner
from hsm_dicom.gateway.tap import AcceptedContext, Direction


class Inspector:
    """Follows one association of a route, as `hsm_dicom.gateway.tap.Tap`.

    `partial(Inspector, "to-pacs")` is the `hsm_dicom.gateway.tap.MakeTap` of a route. `count` takes the outcome of each
    instance, and `Outcome.NOT_FOLLOWED` for each message that cannot be followed.
    """

    def __init__(self, route: str, address: str, count: Callable[[str], None]) -> None:
        self._exchanges = Exchanges(route, address, count)
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._forth: dict[int, Messages] = {}
        self._back: dict[int, Messages] = {}

    def begin(self, contexts: Mapping[int, AcceptedContext]) -> None:
        """Store the presentation contexts, by their IDs."""
        self._contexts = dict(contexts)

    def take(self, direction: Direction, context_id: int, control: int, piece: memoryview, ends: bool) -> None:
        """Process the next octets of a Presentation Data Value."""
        flows = self._forth if direction is Direction.FORTH else self._back
        messages = flows.get(context_id)
        if messages is None:
            messages = Messages(direction, self._exchanges, lambda: self._make_scanner(context_id))
            flows[context_id] = messages
        messages.take(control, piece, ends)

    def end(self) -> None:
        """Process the end of the association."""
        self._exchanges.end()
        self._forth.clear()
        self._back.clear()

    def _make_scanner(self, context_id: int) -> Scanner | None:
        context = self._contexts.get(context_id)
        scanner = make_study_scanner(context.transfer_syntax) if context else None
        if isinstance(scanner, InflatingScanner) and self._inflating >= MOST_INFLATING:
            return None
        return scanner

    @property
    def _inflating(self) -> int:
        flows = [*self._forth.values(), *self._back.values()]
        return sum(isinstance(messages.study, InflatingScanner) for messages in flows)
