"""pynetdicom on the accepting side of connections that were secured by somebody else.

pynetdicom's server would accept, wrap and serve in one loop. Here it only serves: `Acceptor.begin` takes a secured
connection, and the certificate behind it decides which AE titles its holder may use before any other part of the
A-ASSOCIATE-RQ counts (PS3.8, 9.3.4; PS3.15, B.12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationServer, RequestHandler

from hsm_dicom.events import emit
from hsm_dicom.network.authorisation import authorise_caller
from hsm_dicom.network.endings import Ending
from hsm_dicom.network.events import AssociationAborted, AssociationOpened, AssociationRefused, log
from hsm_dicom.network.settings import MAXIMUM_PDU, Limits, Peer
from hsm_dicom.network.transport import ConnectionFacts, Secured

Handlers = Sequence[tuple[Any, ...]]
"""What pynetdicom takes as `evt_handlers`."""


class Acceptor:
    """Begins associations on secured connections, for one application entity of ours."""

    def __init__(
        self,
        name: str,
        ae: AE,
        peers: Callable[[], Sequence[Peer]],
        handlers: Handlers = (),
        limits: Limits | None = None,
    ) -> None:
        """`peers` is asked for each association, so that it may change meanwhile. `ae` brings the contexts."""
        self._name = name
        self._peers = peers
        self._limits = limits or Limits()
        ae.acse_timeout = self._limits.request_seconds
        ae.network_timeout = self._limits.idle_seconds
        ae.maximum_associations = self._limits.associations
        ae.maximum_pdu_size = MAXIMUM_PDU
        # Which AE titles are recognised is decided here, together with the certificate.
        ae.require_called_aet = False
        self._supported = {context.abstract_syntax: context for context in ae.supported_contexts}
        self._server = _Associations(ae, list(handlers))

    @property
    def associations(self) -> list[Association]:
        """Those that run."""
        return self._server.active_associations

    def begin(self, secured: Secured, address: tuple[str, int]) -> None:
        """Serve one connection in threads of its own. Returns at once."""
        if len(self.associations) >= 2 * self._limits.associations:
            # Those over the limit are rejected politely, as long as there are few of them.
            log.warning("%s: %s is dropped: too many associations.", self._name, secured.facts.who)
            secured.socket.close()
            return
        _Request(secured, address, self._server, self)

    def stop(self) -> None:
        """Abort what runs."""
        for association in self.associations:
            if association.is_established:
                association.abort()

    # -- what happens in an association -----------------------------------------------------------------------

    def authorise(self, event: Event, facts: ConnectionFacts) -> None:
        """EVT_REQUESTED: reject who may not use these AE titles."""
        association = event.assoc
        calling, called = _ae_titles(association)
        refusal = authorise_caller(facts, calling, called, association.ae.ae_title, self._peers())
        if refusal is None:
            association.acceptor.supported_contexts = self._support(association)
            return
        emit(
            AssociationRefused(
                name=self._name,
                address=_address(association),
                sentence=f"{self._name}: the association from {_address(association)} is rejected: {refusal.sentence}",
                calling_ae_title=calling,
                called_ae_title=called,
                subject=facts.subject,
                result=refusal.result,
                source=refusal.source,
                reason=refusal.reason,
            )
        )
        association.acse.send_reject(refusal.result, refusal.source, refusal.reason)
        association.kill()  # returns when the A-ASSOCIATE-RJ is out and the connection closed

    def _support(self, association: Association) -> list[PresentationContext]:
        """Copies of those contexts that are asked for: copying all of them takes a tenth of a second."""
        request = association.requestor.primitive
        asked = [context.abstract_syntax for context in request.presentation_context_definition_list] if request else []
        return deepcopy([self._supported[syntax] for syntax in dict.fromkeys(asked) if syntax in self._supported])

    def opened(self, event: Event, facts: ConnectionFacts) -> None:
        """EVT_ESTABLISHED."""
        calling, called = _ae_titles(event.assoc)
        emit(
            AssociationOpened(
                name=self._name,
                address=_address(event.assoc),
                sentence=f"{self._name}: association with '{calling}' at {_address(event.assoc)} ({facts}).",
                calling_ae_title=calling,
                called_ae_title=called,
                subject=facts.subject,
                profile=facts.profile,
            )
        )

    def aborted(self, event: Event, facts: ConnectionFacts, secured: Secured, ending: Ending) -> None:
        """EVT_ABORTED: an A-ABORT, or the A-P-ABORT that follows a lost or forged connection."""
        emit(
            AssociationAborted(
                name=self._name,
                address=_address(event.assoc),
                sentence=f"{self._name}: the association with {facts.who} was aborted: {ending.words(secured)}.",
                subject=facts.subject,
            )
        )


def facts_of(association: Association) -> ConnectionFacts | None:
    """What is known of the connection under an association of ours, for the handlers of an application."""
    facts = getattr(association, "secured_facts", None)
    return facts if isinstance(facts, ConnectionFacts) else None


class _Associations(AssociationServer):
    """pynetdicom's server without its socket and its loop: the place where associations find their settings."""

    def __init__(self, ae: AE, handlers: list[Any]) -> None:
        super().__init__(ae, ("127.0.0.1", 0), ae.ae_title, [], evt_handlers=handlers)
        if self.socket is not None:
            self.socket.close()

    def server_bind(self) -> None:
        """Nothing: our listener has the socket."""

    def server_activate(self) -> None:
        """Nothing, likewise."""


class _Request(RequestHandler):
    """One secured connection on its way to become an association."""

    def __init__(self, secured: Secured, address: tuple[str, int], server: _Associations, acceptor: Acceptor) -> None:
        self._secured = secured
        self._acceptor = acceptor
        super().__init__(secured.socket, address, server)

    def _create_association(self) -> Association:
        association = super()._create_association()
        facts = self._secured.facts
        association.secured_facts = facts  # type: ignore[attr-defined]
        association.bind(evt.EVT_REQUESTED, self._acceptor.authorise, [facts])
        association.bind(evt.EVT_ESTABLISHED, self._acceptor.opened, [facts])
        association.bind(evt.EVT_ABORTED, self._acceptor.aborted, [facts, self._secured, Ending(association)])
        return association


def _ae_titles(association: Association) -> tuple[str, str]:
    """Calling and called AE title of the A-ASSOCIATE-RQ."""
    request = association.requestor.primitive
    return (request.calling_ae_title.strip(), request.called_ae_title.strip()) if request else ("", "")


def _address(association: Association) -> str:
    return f"{association.requestor.address}:{association.requestor.port}"
