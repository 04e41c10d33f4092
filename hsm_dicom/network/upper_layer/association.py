"""Associations of pynetdicom over secured connections, which end in bounded time and cost nothing while idle.

`accept_association` serves a request that was read and authorised; `propose_association` makes one. Both use the
Upper Layer of `upper_layer.py` and the messages of `messages.py`. Nothing is polled: an association's thread sleeps
until its Upper Layer has work for it, or until it has been idle for too long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from hsm_dicom.network._pynetdicom import (
    MODE_ACCEPTOR,
    MODE_REQUESTOR,
    NO_ADDRESS,
    AddressInformation,
    AssociationSocket,
    BaseAssociation,
    ConnectedSocket,
    map_accepted_contexts,
)
from hsm_dicom.network.dimse.answers import MatchedAnswers
from hsm_dicom.network.dimse.messages import MessageReceiver, StartStoring, get_sink
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest, Proposal
from hsm_dicom.network.upper_layer.provider import UpperLayer
from hsm_dicom.transport.events import log
from hsm_dicom.transport.port import Secured
from hsm_dicom.transport.pump import join_pump

Handlers = Sequence[tuple[Any, ...]]
"""What pynetdicom takes as `evt_handlers`: event, function, and perhaps more arguments."""


class SecuredAssociation(BaseAssociation):
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
        self.upper_layer.take_data = self.messages.receive_data
        self.install(self.upper_layer, self.messages, gate)

    def run_reactor(self) -> None:
        """Serve until the association is over, and leave nothing open however it ends."""
        try:
            super().run_reactor()
        except Exception as error:
            log.error("An association ended because of an unexpected error (%s: %s).", type(error).__name__, error)
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

    def before_abort(self) -> None:
        """Record whether the association is aborted because it was idle: sending the A-ABORT restarts the timer."""
        self.was_idle = self.was_idle or self.upper_layer.idle_timer_expired()

    def close(self) -> None:
        """Close the connection and forget what was not served. Harmless to repeat."""
        self.upper_layer.abandon()
        self.messages.discard()
        join_pump(self.secured.socket)
        self._ended(self)

    def serve(self, message: Any, context_id: int) -> None:
        """Serve one request; a C-STORE by its presentation context, so that private SOP Classes work too."""
        context = map_accepted_contexts(self).get(context_id)
        if isinstance(message, C_STORE) and get_sink(message) is not None and context is not None:
            self.serve_storage(message, context)
        else:
            super().serve(message, context_id)
        # The time that storing took is not the peer's.
        self.upper_layer.idle_timer.restart()

    def _has_work(self) -> bool:
        return (
            self.is_killed
            or self.upper_layer.ended.is_set()
            or not self.messages.msg_queue.empty()
            or not self.upper_layer.to_user_queue.empty()
        )

    def _idle_seconds_left(self) -> float:
        return self.upper_layer.idle_timer.remaining


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
    acceptor.address_info = NO_ADDRESS
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
    association.set_socket(ConnectedSocket(association, secured.socket))
    acceptor, requestor = association.acceptor, association.requestor
    acceptor.ae_title = called_ae_title
    acceptor.address_info = requestor.address_info = NO_ADDRESS
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
