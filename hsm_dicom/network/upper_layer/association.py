"""Associations of pynetdicom over connections that are secured, which end in bounded time and cost nothing while idle.

`accept_association` serves a request that was read and authorised; `propose_association` makes one. Both use the
Upper Layer of `upper_layer.py` and the messages of `messages.py`. Nothing is polled: an association's thread sleeps
until its Upper Layer has something for it, or until it has been idle for too long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from pynetdicom import AE
from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from hsm_dicom.network.dimse.answers import MatchedAnswers
from hsm_dicom.network.dimse.messages import MessageReceiver, StartStoring, sink_of
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest, Proposal
from hsm_dicom.network.upper_layer.provider import UpperLayer
from hsm_dicom.transport.events import log
from hsm_dicom.transport.port import Secured

Handlers = Sequence[tuple[Any, ...]]
"""What pynetdicom takes as `evt_handlers`: event, function, and perhaps more arguments."""

_NOWHERE = AddressInformation("127.0.0.1", 0)
"""An address for pynetdicom to hold: the connection stands, and nothing is looked up or connected."""


class SecuredAssociation(Association):
    """An association over a secured connection. `ended` is called in its thread when everything is closed."""

    def __init__(
        self,
        ae: AE,
        mode: str,
        secured: Secured,
        *,
        seconds: float,
        request: bytes | None = None,
        start_storing: StartStoring | None = None,
        messages: type[MessageReceiver] = MessageReceiver,
        ended: Callable[[SecuredAssociation], None] = lambda association: None,
    ) -> None:
        super().__init__(ae, mode)
        self.was_idle = False
        gate = _Gate(self._has_work, self._idle_seconds_left)
        self.secured = secured
        self._ended = ended
        self.upper_layer = UpperLayer(self, seconds, gate.notify, request)
        self.messages = messages(self, gate.notify, start_storing)
        self.dul, self.dimse = self.upper_layer, self.messages
        # These belong to the Upper Layer, which is another one now.
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout
        self._reactor_checkpoint = gate  # type: ignore[assignment]

    def run_reactor(self) -> None:
        """Serve until the association is over, and leave nothing open however it ends."""
        try:
            super().run_reactor()
        except Exception as error:
            log.error("An association ended on an unexpected error (%s: %s).", type(error).__name__, error)
            log.debug("The error was:", exc_info=True)
        finally:
            self.close()

    def negotiate(self) -> None:
        """Ask for it and wait for the answer; see then whether it `is_established`."""
        try:
            self.request()
        except BaseException:
            self.close()
            raise
        if self.is_established:
            self.start()
        else:
            self.close()

    def _abort_blocking(self, block: bool = True) -> None:
        """Abort, and remember whether that is for idleness: sending the A-ABORT restarts the timer."""
        self.was_idle = self.was_idle or self.upper_layer.idle_timer_expired()
        super()._abort_blocking(block)

    def close(self) -> None:
        """Close the connection and forget what was not served. Harmless to repeat."""
        self.upper_layer.abandon()
        self.messages.discard()
        self._ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve one request; a C-STORE by its presentation context, so that private SOP Classes work too."""
        context = self._accepted_cx.get(context_id)
        if isinstance(msg, C_STORE) and sink_of(msg) is not None and context is not None:
            self._is_paused = True
            StorageServiceClass(self).SCP(msg, context)
            self._is_paused = False
        else:
            super()._serve_request(msg, context_id)
        # The time that storing took is not the peer's.
        self.upper_layer._idle_timer.restart()

    def _has_work(self) -> bool:
        return (
            self._kill
            or self.upper_layer.ended.is_set()
            or not self.messages.msg_queue.empty()
            or not self.upper_layer.to_user_queue.empty()
        )

    def _idle_seconds_left(self) -> float:
        return self.upper_layer._idle_timer.remaining


class _Gate:
    """The event at which pynetdicom's reactor stops while a service is used; here also while there is nothing to do."""

    def __init__(self, has_work: Callable[[], bool], seconds_left: Callable[[], float]) -> None:
        self._has_work = has_work
        self._seconds_left = seconds_left
        self._condition = threading.Condition()
        self._open = True

    def set(self) -> None:
        """Let the reactor pass, if there is something to do."""
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def clear(self) -> None:
        """Hold the reactor."""
        with self._condition:
            self._open = False

    def notify(self) -> None:
        """Have the reactor look whether there is something to do."""
        with self._condition:
            self._condition.notify_all()

    def wait(self) -> None:
        """Wait until the reactor may pass and has something to do, or has been idle for too long."""
        with self._condition:
            while True:
                left = self._seconds_left()
                if self._open and (left < 0 or self._has_work()):
                    return
                self._condition.wait(max(left, 0.0) + 0.01 if self._open else None)


class _ConnectedSocket(AssociationSocket):
    """The connection of a requestor, which stands before pynetdicom asks for it."""

    def __init__(self, association: SecuredAssociation) -> None:
        super().__init__(association, client_socket=association.secured.socket)
        self.event_queue.get_nowait()  # Evt5, which is for acceptors
        self._is_connected = False
        self._ready.clear()

    def connect(self, primitive: T_CONNECT) -> None:
        """Report that it is connected."""
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()

    def close(self) -> None:
        """Close, but stay marked as connected: pynetdicom would take a quick rejection for a failure to connect."""
        super().close()
        self._is_connected = True


def accept_association(
    ae: AE,
    secured: Secured,
    address: tuple[str, int],
    request: AssociateRequest,
    contexts: Sequence[PresentationContext],
    handlers: Handlers,
    *,
    seconds: float,
    start_storing: StartStoring | None,
    ended: Callable[[SecuredAssociation], None],
) -> SecuredAssociation:
    """Make the association for a request that is authorised; `start` begins it.

    `contexts` are those that are supported, `seconds` the time for each PDU.
    """
    association = SecuredAssociation(
        ae,
        MODE_ACCEPTOR,
        secured,
        seconds=seconds,
        request=request.data,
        start_storing=start_storing,
        ended=ended,
    )
    association.name = f"association-{request.calling_ae_title}"
    association.set_socket(AssociationSocket(association, client_socket=secured.socket))
    acceptor, requestor = association.acceptor, association.requestor
    acceptor.maximum_length = MAXIMUM_PDU
    acceptor.ae_title = ae.ae_title
    acceptor.address_info = _NOWHERE
    acceptor.implementation_class_uid = ae.implementation_class_uid
    acceptor.implementation_version_name = ae.implementation_version_name
    acceptor.supported_contexts = deepcopy(list(contexts))
    requestor.address_info = AddressInformation(*address)
    for event, handler, *arguments in handlers:
        association.bind(event, handler, *arguments)
    return association


def propose_association(
    ae: AE,
    secured: Secured,
    called_ae_title: str,
    contexts: Sequence[PresentationContext],
    *,
    seconds: float,
) -> SecuredAssociation:
    """Make an association to ask a peer for; `negotiate` asks.

    `contexts` are 128 at the most; `seconds` is the time for each PDU.
    """
    association = SecuredAssociation(ae, MODE_REQUESTOR, secured, seconds=seconds, messages=MatchedAnswers)
    association.name = f"association-with-{called_ae_title}"
    association.set_socket(_ConnectedSocket(association))
    acceptor, requestor = association.acceptor, association.requestor
    acceptor.ae_title = called_ae_title
    acceptor.address_info = requestor.address_info = _NOWHERE
    requestor.ae_title = ae.ae_title
    requestor.maximum_length = MAXIMUM_PDU
    requestor.implementation_class_uid = ae.implementation_class_uid
    requestor.implementation_version_name = ae.implementation_version_name
    proposed = deepcopy(list(contexts))
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    requestor.requested_contexts = proposed
    association.upper_layer.proposed = {
        int(context.context_id or 0): Proposal(
            str(context.abstract_syntax), tuple(str(syntax) for syntax in context.transfer_syntax)
        )
        for context in proposed
    }
    return association
