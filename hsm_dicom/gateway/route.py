"""A route: who may use it, the associations on it, and what it reports about itself.

route = Route(settings, PeerTarget(peer, transport))
entrance = Entrance("to-pacs", [route])
with Listener("to-pacs", settings.listen, PlainTransport(), entrance.serve):
    ...
route.close()
route.drain(60.0)
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from datetime import UTC, datetime

from hsm_dicom.events import emit
from hsm_dicom.gateway.authorisation import (
    VERSION_REFUSED,
    RouteRefusal,
    find_source,
    refuse_for_limit,
    refuse_for_now,
)
from hsm_dicom.gateway.events import RelayEnded, RelayOpened, RelayRefused, RouteChanged
from hsm_dicom.gateway.hold import Caller, Holder, MakeHolder
from hsm_dicom.gateway.relay.association import Call, RelayedAssociation
from hsm_dicom.gateway.relay.holding_association import make_association
from hsm_dicom.gateway.relay.negotiation import Acceptance
from hsm_dicom.gateway.services import find_service
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings
from hsm_dicom.gateway.sources import Sources
from hsm_dicom.gateway.status import RouteState, RouteStatus
from hsm_dicom.gateway.tap import MakeTap
from hsm_dicom.gateway.targets import Target
from hsm_dicom.network.addresses import Address, format_address
from hsm_dicom.network.settings import Peer, describe_transport
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.network.upper_layer.pdu import rejection
from hsm_dicom.transport.port import ConnectionFacts, Secured

_STOP_SECONDS = 5.0
"""How long aborted associations may take to end, in seconds."""

_LOOK_SECONDS = 0.2
"""How often to look meanwhile for associations that began when the route was closed."""


class Route:
    """A route and its associations. Thread-safe.

    `make_tap` makes the taps of associations that are inspected, `make_holder` what holds the objects of associations.
    """

    def __init__(
        self,
        settings: RouteSettings,
        target: Target,
        make_tap: MakeTap | None = None,
        make_holder: MakeHolder | None = None,
    ) -> None:
        self._settings, self._target, self._make_tap, self._make_holder = settings, target, make_tap, make_holder
        self._running: set[RelayedAssociation] = set()
        self._sources = Sources(settings.limits)
        self._places = 0
        """Associations that hold a place: those that run, and those that are being started."""
        self._is_closed = self._is_down = False
        self._accepted = self._aborted = self._forth = self._back = 0
        self._refused: Counter[str] = Counter()
        self._instances: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._last_used: datetime | None = None
        self._last_error = ""
        self._last_error_at: datetime | None = None
        self._changing = threading.Condition()

    @property
    def settings(self) -> RouteSettings:
        """The settings of new associations."""
        return self._settings

    @property
    def is_idle(self) -> bool:
        """Whether no association is open."""
        return self._places == 0

    def begin(self, secured: Secured, address: Address, request: AssociateRequest) -> bytes | None:
        """Start relaying an association in a thread of its own, and return None; or return the A-ASSOCIATE-RJ.

        This is a `hsm_dicom.network.listener.Serve`.
        """
        return self.begin_from(self.find_source(secured, address, request), secured, address, request)

    def find_source(
        self, secured: Secured, address: Address, request: AssociateRequest
    ) -> PlainDevice | Peer | RouteRefusal:
        """Return which source of the route a caller is, or why it may not use the route."""
        if not request.speaks_version_1:
            return VERSION_REFUSED
        return find_source(secured.facts, address[0], request, self._settings)

    def begin_from(
        self,
        source: PlainDevice | Peer | RouteRefusal,
        secured: Secured,
        address: Address,
        request: AssociateRequest,
    ) -> bytes | None:
        """Do as `begin` does, with what `find_source` returned."""
        with self._changing:  # all of one reload
            settings, target = self._settings, self._target
            make_tap, make_holder = self._make_tap, self._make_holder
        if isinstance(source, RouteRefusal):
            return self.refuse(source, secured.facts, address, request)
        refusal = self._take_place(address, settings)
        if refusal is not None:
            return self.refuse(refusal, secured.facts, address, request)
        call = Call(secured, address, request, source, settings, target)
        try:
            self._start(call, make_tap, make_holder)
        except (MemoryError, OSError, RuntimeError) as error:
            self._free_place(address)
            short = refuse_for_limit(
                f"this node has no more descriptors, threads or memory ({error}). Increase LimitNOFILE=, TasksMax= or "
                "MemoryMax= of its unit, or find out what uses them."
            )
            return self.refuse(short, secured.facts, address, request)
        except BaseException:
            self._free_place(address)
            raise
        return None

    def refuse(
        self, refused: RouteRefusal, facts: ConnectionFacts, address: Address, request: AssociateRequest
    ) -> bytes:
        """Count and report a refusal, and return the A-ASSOCIATE-RJ for the caller."""
        with self._changing:
            self._refused[refused.kind] += 1
        refusal = refused.refusal
        report_refusal(self._settings.name, refused, facts, address, request)
        return rejection(refusal.result, refusal.source, refusal.reason)

    def replace(
        self,
        settings: RouteSettings,
        target: Target,
        make_tap: MakeTap | None = None,
        make_holder: MakeHolder | None = None,
    ) -> None:
        """Use other settings for new associations; those that run go on as they began."""
        with self._changing:
            self._settings, self._target, self._make_tap, self._make_holder = settings, target, make_tap, make_holder
            self._sources.limits = settings.limits

    def close(self) -> None:
        """Refuse new associations; those that run go on."""
        with self._changing:
            self._is_closed = True

    def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for the associations to end, then abort those that are left, and wait for their end."""
        with self._changing:
            if self._changing.wait_for(lambda: not self._places, seconds):
                return
        deadline = time.monotonic() + _STOP_SECONDS
        stopped: set[RelayedAssociation] = set()
        while not self.is_idle and time.monotonic() < deadline:
            with self._changing:
                running = self._running - stopped
                stopped |= running
            for association in running:
                association.stop()
            with self._changing:
                # One that was being started when the route was closed runs a little later.
                self._changing.wait_for(lambda: not self._places, _LOOK_SECONDS)
        for association in stopped:
            association.join(max(0.0, deadline - time.monotonic()))

    def status(self) -> RouteStatus:
        """Return what the route has done since the start."""
        with self._changing:
            settings, running = self._settings, list(self._running)
            down = RouteState.DOWN if self._is_down else RouteState.OPEN
            return RouteStatus(
                name=settings.name,
                sources=tuple(source.name for source in settings.sources),
                target=settings.target.name,
                transport=self._describe_transport(settings),
                objects=str(settings.objects),
                state=RouteState.CLOSED if self._is_closed else down,
                associations=self._places,
                accepted=self._accepted,
                refused=dict(self._refused),
                aborted=self._aborted,
                octets_forth=self._forth + sum(one.octets_forth for one in running),
                octets_back=self._back + sum(one.octets_back for one in running),
                instances=dict(self._instances),
                held=dict(self._held),
                last_used=self._last_used,
                last_error=self._last_error,
                last_error_at=self._last_error_at,
            )

    # -- what associations report -----------------------------------------------------------------------------

    def note_reached(self, call: Call) -> None:
        """See `relay.association.Observer`."""
        with self._changing:
            was_down, self._is_down = self._is_down, False
        if was_down:
            self._report_change(call, True, f"its target '{call.target.name}' is reached again")

    def note_refused(self, call: Call, refusal: RouteRefusal, is_target_down: bool) -> None:
        """See `relay.association.Observer`."""
        with self._changing:
            was_down = self._is_down
            if is_target_down:
                self._is_down = True
                self._last_error, self._last_error_at = refusal.refusal.text, datetime.now(UTC)
        self.refuse(refusal, call.secured.facts, call.address, call.request)
        if is_target_down and not was_down:
            self._report_change(call, False, refusal.refusal.text)

    def note_opened(self, association: RelayedAssociation, acceptance: Acceptance, facts: ConnectionFacts) -> None:
        """See `relay.association.Observer`."""
        call = association.call
        with self._changing:
            self._accepted += 1
            self._last_used = datetime.now(UTC)
        proven = call.secured.facts if call.secured.facts.is_secured else facts
        plain = next((one for one in (call.source, call.settings.target) if isinstance(one, PlainDevice)), None)
        name, at = call.settings.name, format_address(call.address)
        emit(
            RelayOpened(
                name=name,
                address=at,
                text=f"{name}: association of '{call.request.calling_ae_title}' at {at} with "
                f"'{call.target.name}' ({proven}).{_describe_refused(acceptance)}",
                source=call.source.name,
                target=call.target.name,
                calling_ae_title=call.request.calling_ae_title,
                called_ae_title=call.request.called_ae_title,
                subject=proven.subject,
                profile=proven.profile,
                refused_contexts=acceptance.refused,
                reason=plain.reason if plain else "",
            )
        )

    def note_ended(self, association: RelayedAssociation, outcome: str, why: str) -> None:
        """See `relay.association.Observer`."""
        call, forth, back = association.call, association.octets_forth, association.octets_back
        with self._changing:
            self._running.discard(association)
            self._forth += forth
            self._back += back
            if outcome and outcome != "released":
                self._aborted += 1
                self._last_error, self._last_error_at = f"An association was {outcome}: {why}.", datetime.now(UTC)
        if outcome:
            self._report_end(call, outcome, why, (forth, back), time.monotonic() - association.began)
        self._free_place(call.address)

    # -- inside -----------------------------------------------------------------------------------------------

    def _take_place(self, address: Address, settings: RouteSettings) -> RouteRefusal | None:
        with self._changing:
            if self._is_closed:
                return refuse_for_now("draining", "this node stops, or the route was removed.")
            if self._places >= settings.associations:
                return refuse_for_limit(
                    f"the route's maximum of open associations ({settings.associations}) is reached. Increase "
                    f"associations = of [routes.{settings.name}], or find out why they stay open."
                )
            reached = self._sources.begin(address[0])
            if reached is not None:
                return refuse_for_limit(
                    f"its address has reached the limit of {reached}. Find out what it does, or increase "
                    f"associations_per_source or associations_per_minute of [routes.{settings.name}]."
                )
            self._places += 1
        return None

    def _free_place(self, address: Address) -> None:
        self._sources.end(address[0])
        with self._changing:
            self._places -= 1
            self._changing.notify_all()

    def _start(self, call: Call, make_tap: MakeTap | None, make_holder: MakeHolder | None) -> None:
        at = format_address(call.address)
        association = make_association(
            call,
            self,
            None if make_tap is None else lambda: make_tap(at, self._count_instance),
            None if make_holder is None else functools.partial(self._hold_object, call, make_holder),
            functools.partial(self._sources.delay, call.address[0]),
        )
        with self._changing:
            self._running.add(association)
        try:
            association.start()
        except BaseException:  # such as no more threads
            with self._changing:
                self._running.discard(association)
            association.discard()
            raise

    def _hold_object(self, call: Call, first: MakeHolder) -> Holder:
        """Return what holds an object now: after a reload with the new keys, if the route still holds objects."""
        make_holder = self._make_holder or first
        return make_holder(Caller(format_address(call.address), call.request.calling_ae_title, self._count_held))

    def _count_held(self, outcome: str) -> None:
        with self._changing:
            self._held[outcome] += 1

    def _count_instance(self, outcome: str) -> None:
        with self._changing:
            self._instances[outcome] += 1

    def _describe_transport(self, settings: RouteSettings) -> str:
        if isinstance(settings.target, Peer):
            return self._target.transport
        peers = (source for source in settings.sources if isinstance(source, Peer))
        return ", ".join(dict.fromkeys(describe_transport(peer) for peer in peers)) or self._target.transport

    def _report_change(self, call: Call, is_up: bool, why: str) -> None:
        name = call.settings.name
        state = "is used again" if is_up else "is down"
        emit(
            RouteChanged(
                name=name, address=format_address(call.address), text=f"{name}: the route {state}: {why}", is_up=is_up
            )
        )

    @staticmethod
    def _report_end(call: Call, outcome: str, why: str, octets: tuple[int, int], seconds: float) -> None:
        name, at = call.settings.name, format_address(call.address)
        because = f": {why}" if why else ""
        emit(
            RelayEnded(
                name=name,
                address=at,
                text=f"{name}: the association of {at} with '{call.target.name}' was {outcome}{because}.",
                source=call.source.name,
                target=call.target.name,
                outcome=outcome,
                octets_forth=octets[0],
                octets_back=octets[1],
                seconds=seconds,
            )
        )


def report_refusal(
    name: str, refused: RouteRefusal, facts: ConnectionFacts, address: Address, request: AssociateRequest
) -> None:
    """Emit the event of an association that is not relayed."""
    refusal, at = refused.refusal, format_address(address)
    emit(
        RelayRefused(
            name=name,
            address=at,
            text=f"{name}: the association from {at} is not relayed: {refusal.text}",
            kind=refused.kind,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            subject=facts.subject,
            result=refusal.result,
            source=refusal.source,
            reason=refusal.reason,
        )
    )


def _describe_refused(acceptance: Acceptance) -> str:
    """Return a sentence with the services of the contexts that the route refused; empty for none."""
    services = sorted({str(find_service(one)) for one in acceptance.refused})
    refused = " Refused presentation contexts for services that the route does not admit"
    return f"{refused}: {', '.join(services)}." if services else ""
