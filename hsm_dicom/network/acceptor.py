"""Acceptor: accept or reject requests for associations, and manage the running associations.

The peer's certificate, or its authentication data in ISCL, determines which AE titles it may use. The acceptor checks
this before it uses anything else of the A-ASSOCIATE-RQ (PS3.8, 9.3.4; PS3.15, B.12). Only an authorised request counts
against the limit of associations.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from hsm_dicom.events import emit
from hsm_dicom.network.authorisation import UNKNOWN_VERSION, Refusal, check_caller, refuse_without_place
from hsm_dicom.network.dimse.messages import StartStoring
from hsm_dicom.network.settings import Limits, Peer
from hsm_dicom.network.storage.sop_classes import SopClasses, list_transfer_syntaxes
from hsm_dicom.network.upper_layer.association import Handlers, SecuredAssociation, accept_association
from hsm_dicom.network.upper_layer.endings import Ending
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.network.upper_layer.pdu import rejection
from hsm_dicom.transport.events import AssociationAborted, AssociationAccepted, AssociationRejected, log
from hsm_dicom.transport.port import ConnectionFacts, Secured

_STOP_SECONDS = 5.0
"""Maximum time for all aborted associations to end, in seconds."""


class Acceptor:
    """Acceptor of associations on secured connections, for one application entity."""

    def __init__(
        self,
        name: str,
        ae: AE,
        peers: Callable[[], Sequence[Peer]],
        handlers: Handlers = (),
        limits: Limits | None = None,
        start_storing: StartStoring | None = None,
        sop_classes: SopClasses | None = None,
    ) -> None:
        """Store the settings. `peers` is called for each association, so its result may change.

        `ae` has the presentation contexts to accept; with `sop_classes`, storage contexts of these are accepted too.
        `start_storing` receives the Data Set of a C-STORE request as it arrives; without it, it is held in memory.
        """
        self._name = name
        self._ae = ae
        self._peers = peers
        self._handlers = list(handlers)
        self._limits = limits or Limits()
        self._start_storing = start_storing
        self._sop_classes = sop_classes
        ae.acse_timeout = self._limits.request_seconds
        ae.network_timeout = self._limits.idle_seconds
        # This class checks the AE titles and the number of associations, not pynetdicom.
        ae.require_called_aet = False
        ae.maximum_associations = 2 * self._limits.associations + 1
        self._supported = {str(context.abstract_syntax): context for context in ae.supported_contexts}
        self._running: set[SecuredAssociation] = set()
        self._places_left = self._limits.associations
        self._counting = threading.Lock()

    @property
    def associations(self) -> list[SecuredAssociation]:
        """The running associations."""
        with self._counting:
            return list(self._running)

    def begin(self, secured: Secured, address: tuple[str, int], request: AssociateRequest) -> bytes | None:
        """Serve a connection in its own threads, and return None; or return the PDU to reject the request."""
        facts = secured.facts
        refusal = self._refusal(facts, request)
        if refusal is None:
            self._start(secured, address, request)
            return None
        at = _text(address)
        emit(
            AssociationRejected(
                name=self._name,
                address=at,
                text=f"{self._name}: the association from {at} is rejected: {refusal.text}",
                calling_ae_title=request.calling_ae_title,
                called_ae_title=request.called_ae_title,
                subject=facts.subject,
                result=refusal.result,
                source=refusal.source,
                reason=refusal.reason,
            )
        )
        return rejection(refusal.result, refusal.source, refusal.reason)

    def stop(self) -> None:
        """Let associations run for up to `stop_seconds`, abort the rest, and wait until they have ended."""
        open_now = self.associations
        if open_now and self._limits.stop_seconds:
            what = "1 open association" if len(open_now) == 1 else f"{len(open_now)} open associations"
            log.info("%s: waiting up to %g seconds for %s.", self._name, self._limits.stop_seconds, what)
            _join(open_now, self._limits.stop_seconds)
        running = self.associations
        for association in running:
            association.abort(block=False)
        _join(running, _STOP_SECONDS)

    def _refusal(self, facts: ConnectionFacts, request: AssociateRequest) -> Refusal | None:
        """Return the reason to reject the request; or None, after reserving a place."""
        if not request.speaks_version_1:
            return UNKNOWN_VERSION
        refusal = check_caller(
            facts, request.calling_ae_title, request.called_ae_title, self._ae.ae_title, self._peers()
        )
        if refusal is None:
            with self._counting:
                if self._places_left == 0:
                    return refuse_without_place(facts, self._limits.associations)
                self._places_left -= 1
        return refusal

    def _support(self, request: AssociateRequest) -> list[PresentationContext]:
        """Return the supported contexts of those requested; Transfer Syntaxes in the order of the peer."""
        asked: dict[str, dict[str, None]] = {}
        for proposal in request.contexts.values():
            asked.setdefault(proposal.abstract_syntax, {}).update(dict.fromkeys(proposal.transfer_syntaxes))
        contexts = []
        for sop_class, syntaxes in asked.items():
            if sop_class in self._supported:
                contexts.append(self._supported[sop_class])
            elif self._sop_classes is not None and self._sop_classes.accept(sop_class):
                stored = list_transfer_syntaxes()
                contexts.append(build_context(sop_class, [one for one in syntaxes if one in stored] or list(stored)))
        return contexts

    def _start(self, secured: Secured, address: tuple[str, int], request: AssociateRequest) -> None:
        facts = secured.facts
        try:
            association = accept_association(
                self._ae,
                secured,
                address,
                request,
                self._support(request),
                self._handlers,
                seconds=self._limits.read_seconds,
                start_storing=self._start_storing,
                ended=self._end,
            )
        except BaseException:
            with self._counting:
                self._places_left += 1
            raise
        association.secured_facts = facts  # type: ignore[attr-defined]
        association.bind(evt.EVT_ESTABLISHED, self._on_established, [facts, request])
        association.bind(evt.EVT_ABORTED, self._on_aborted, [facts, secured, Ending(association)])
        with self._counting:
            self._running.add(association)
        try:
            association.start()
        except BaseException:  # such as no more threads
            association.close()
            raise

    def _end(self, association: SecuredAssociation) -> None:
        with self._counting:
            if association in self._running:
                self._running.remove(association)
                self._places_left += 1

    # -- what happens in an association -----------------------------------------------------------------------

    def _on_established(self, event: Event, facts: ConnectionFacts, request: AssociateRequest) -> None:
        """Report an association that is established (EVT_ESTABLISHED)."""
        emit(
            AssociationAccepted(
                name=self._name,
                address=_address(event.assoc),
                text=f"{self._name}: association with '{request.calling_ae_title}' at {_address(event.assoc)} "
                f"({facts}).",
                calling_ae_title=request.calling_ae_title,
                called_ae_title=request.called_ae_title,
                subject=facts.subject,
                profile=facts.profile,
            )
        )

    def _on_aborted(self, event: Event, facts: ConnectionFacts, secured: Secured, ending: Ending) -> None:
        """Report an A-ABORT, or the A-P-ABORT after a lost connection or a failed integrity check (EVT_ABORTED)."""
        emit(
            AssociationAborted(
                name=self._name,
                address=_address(event.assoc),
                text=f"{self._name}: the association with {facts.who} was aborted: {ending.describe(secured)}.",
                subject=facts.subject,
            )
        )


def get_connection_facts(association: Association) -> ConnectionFacts | None:
    """Return the facts of an association's connection, for handlers of an application; None if there are none."""
    facts = getattr(association, "secured_facts", None)
    return facts if isinstance(facts, ConnectionFacts) else None


def _address(association: Association) -> str:
    return f"{association.requestor.address}:{association.requestor.port}"


def _join(associations: Sequence[SecuredAssociation], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
