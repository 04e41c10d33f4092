"""The only module that uses internals of pynetdicom: base classes, private attributes, one process-wide switch.

pynetdicom documents how an application uses associations, not how to replace its Upper Layer or its reading of
messages. Other modules of this package extend the classes below and use their documented names only. `METHODS`,
`ATTRIBUTES` and `TRANSITIONS` list everything that is relied on; tests/hsm_dicom/network/test_pynetdicom_seam.py
checks each entry against the installed version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pynetdicom import _config, evt
from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import _MESSAGE_TYPES, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import _STORAGE_CLASSES
from pynetdicom.timer import Timer
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

CONNECTED, DATA_REQUESTED, DATA_RECEIVED = "Evt2", "Evt9", "Evt10"
CONNECTION_CLOSED, ARTIM_EXPIRED, INVALID_PDU = "Evt17", "Evt18", "Evt19"
"""Events of the Upper Layer's state machine (PS3.8, Table 9-10)."""

IDLE, ESTABLISHED, AWAITING_CLOSE = "Sta1", "Sta6", "Sta13"
"""States of the same machine."""

NO_ADDRESS = AddressInformation("127.0.0.1", 0)
"""A placeholder: the connection exists already, and pynetdicom neither resolves nor connects to this address."""

_IS_LAST = 2
"""The bit of a message control header that marks the last fragment (PS3.8, E.2)."""

TRANSITIONS = (
    (CONNECTED, "Sta4"),
    (DATA_REQUESTED, ESTABLISHED),
    (DATA_RECEIVED, ESTABLISHED),
    (CONNECTION_CLOSED, ESTABLISHED),
    (ARTIM_EXPIRED, "Sta2"),
    (INVALID_PDU, ESTABLISHED),
)
"""Pairs of event and state that the state machine must know."""

METHODS: Mapping[tuple[type, str], tuple[str, ...]] = {
    (Association, "__init__"): ("self", "ae", "mode"),
    (Association, "_abort_blocking"): ("self", "block"),
    (Association, "_serve_request"): ("self", "msg", "context_id"),
    (Association, "get_handlers"): ("self", "event"),
    (Association, "run_reactor"): ("self",),
    (Association, "request"): ("self",),
    (Association, "set_socket"): ("self", "socket"),
    (AssociationSocket, "__init__"): ("self", "assoc", "client_socket", "address"),
    (AssociationSocket, "close"): ("self",),
    (AssociationSocket, "connect"): ("self", "primitive"),
    (DIMSEMessage, "encode_msg"): ("self", "context_id", "max_pdu_length"),
    (DIMSEMessage, "message_to_primitive"): ("self",),
    (DIMSEMessage, "primitive_to_message"): ("self", "primitive"),
    (DIMSEServiceProvider, "__init__"): ("self", "assoc"),
    (DIMSEServiceProvider, "get_msg"): ("self", "block"),
    (DIMSEServiceProvider, "receive_primitive"): ("self", "primitive"),
    (DIMSEServiceProvider, "send_msg"): ("self", "primitive", "context_id"),
    (DULServiceProvider, "__init__"): ("self", "assoc"),
    (DULServiceProvider, "_decode_pdu"): ("self", "bytestream"),
    (DULServiceProvider, "_process_recv_primitive"): ("self",),
    (DULServiceProvider, "_send"): ("self", "pdu"),
    (DULServiceProvider, "idle_timer_expired"): ("self",),
    (DULServiceProvider, "kill_dul"): ("self",),
    (DULServiceProvider, "run_reactor"): ("self",),
    (DULServiceProvider, "send_pdu"): ("self", "primitive"),
    (DULServiceProvider, "stop_dul"): ("self",),
    (StorageServiceClass, "SCP"): ("self", "req", "context"),
}
"""Methods that are called or overridden, with the names of their parameters."""

ATTRIBUTES: Mapping[type, tuple[str, ...]] = {
    Association: (
        "_accepted_cx",
        "_dul_ready",
        "_is_paused",
        "_kill",
        "_reactor_checkpoint",
        "_sent_abort",
        "acse_timeout",
        "dimse",
        "dul",
        "network_timeout",
    ),
    AssociationSocket: ("_is_connected", "_ready", "event_queue", "provider_queue", "socket"),
    DIMSEMessage: ("command_set", "context_id", "data_set"),
    C_STORE: ("_dataset_path",),
    DIMSEServiceProvider: ("assoc", "dimse_timeout", "dul", "maximum_pdu_size", "msg_queue"),
    DULServiceProvider: (
        "_idle_timer",
        "_kill_thread",
        "_recv_pdu",
        "artim_timer",
        "event_queue",
        "socket",
        "state_machine",
        "to_provider_queue",
        "to_user_queue",
    ),
    Timer: ("expired", "remaining", "restart", "start"),
}
"""Attributes that are read or set on objects of these classes."""


class ReactorGate(Protocol):
    """What the reactor of an association calls on the event at which it pauses."""

    def set(self) -> None:
        """Let the reactor pass."""

    def clear(self) -> None:
        """Hold the reactor."""

    def wait(self) -> None:
        """Return when the reactor may pass."""


class BaseAssociation(Association):
    """pynetdicom's association, with documented names for what subclasses use and override."""

    def install(self, provider: DULServiceProvider, dimse: DIMSEServiceProvider, gate: ReactorGate) -> None:
        """Replace the Upper Layer, the DIMSE service and the event at which the reactor pauses."""
        self.dul, self.dimse = provider, dimse
        # The setters copy these to the Upper Layer, which was another one when the association was made.
        self.acse_timeout, self.network_timeout = self.ae.acse_timeout, self.ae.network_timeout
        self._reactor_checkpoint = gate  # type: ignore[assignment]

    def before_abort(self) -> None:
        """Prepare for an A-ABORT, which restarts the idle timer. Subclasses override it."""

    def serve(self, message: Any, context_id: int) -> None:
        """Serve one DIMSE request; pynetdicom finds the service by the SOP Class."""
        super()._serve_request(message, context_id)

    def serve_storage(self, message: C_STORE, context: PresentationContext) -> None:
        """Serve a C-STORE request whatever its SOP Class is."""
        self._is_paused = True
        StorageServiceClass(self).SCP(message, context)
        self._is_paused = False

    @property
    def is_killed(self) -> bool:
        """Whether the reactor is asked to end."""
        return self._kill

    def _abort_blocking(self, block: bool = True) -> None:
        self.before_abort()
        super()._abort_blocking(block)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        self.serve(msg, context_id)


class BaseUpperLayer(DULServiceProvider):
    """pynetdicom's Upper Layer, with documented names for what subclasses use and override."""

    def write_pdu(self, pdu: Any) -> None:
        """Send a PDU that the state machine made. Subclasses implement it."""
        raise NotImplementedError

    @property
    def idle_timer(self) -> Timer:
        """The timer of the network timeout."""
        return self._idle_timer

    @property
    def is_stopping(self) -> bool:
        """Whether the thread is asked to end."""
        return self._kill_thread

    def request_stop(self) -> None:
        """Ask the thread to end."""
        self._kill_thread = True

    def mark_ready(self) -> None:
        """Start the idle timer, and let the association's thread begin."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()

    def queue_primitive(self) -> bool:
        """Queue the event of the next primitive to send, and return whether there was one."""
        return self._process_recv_primitive()

    def decode(self, data: bytes) -> None:
        """Decode a PDU, and queue it with its event. Raises whatever the decoder raises."""
        decoded, event = self._decode_pdu(bytearray(data))
        self._recv_pdu.put(decoded)
        self.event_queue.put(event)

    def has_transition(self, event: str) -> bool:
        """Return whether the state machine knows this event in its current state."""
        return (event, self.state_machine.current_state) in TRANSITION_TABLE

    def report_abort(self) -> None:
        """Have the association's thread end as after an A-P-ABORT."""
        self.assoc.is_aborted = True
        self.assoc.is_established = False
        self.to_user_queue.put(A_P_ABORT())
        self.assoc.dimse.msg_queue.put((None, None))

    def report_sent(self, pdu: Any) -> None:
        """Trigger EVT_PDU_SENT."""
        evt.trigger(self.assoc, evt.EVT_PDU_SENT, {"pdu": pdu})

    def connection(self) -> Any:
        """Return the socket of the connection; None if there is none, or not yet."""
        transport = self.socket
        return transport.socket if transport is not None and transport._is_connected else None

    def _send(self, pdu: Any) -> None:
        self.write_pdu(pdu)


class BaseMessages(DIMSEServiceProvider):
    """pynetdicom's DIMSE service, with documented names for what subclasses use."""

    def send_command(self, request: C_STORE, context_id: int) -> None:
        """Send the command set of a C-STORE request. Its Data Set, which it announces, is left to the caller."""
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        message.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        for part in message.encode_msg(context_id, self.maximum_pdu_size):
            self.dul.send_pdu(part)
            ((_, value),) = part.presentation_data_value_list
            if value[0] & _IS_LAST:
                return


class ConnectedSocket(AssociationSocket):
    """The connection of a requestor, established before pynetdicom asks for it."""

    def __init__(self, association: Association, connection: Any) -> None:
        super().__init__(association, client_socket=connection)
        self.event_queue.get_nowait()  # Evt5, which is for acceptors
        self._is_connected = False
        self._ready.clear()

    def connect(self, primitive: T_CONNECT) -> None:
        """Report that it is connected."""
        self._is_connected = True
        primitive.result = CONNECTED
        self.provider_queue.put(primitive)
        self._ready.set()

    def close(self) -> None:
        """Close, but stay marked as connected: pynetdicom would take a quick rejection for a failure to connect."""
        super().close()
        self._is_connected = True


def map_accepted_contexts(association: Association) -> Mapping[int, PresentationContext]:
    """Return the accepted presentation contexts by their ID."""
    return association._accepted_cx


def has_sent_abort(association: Association) -> bool:
    """Return whether our application, or pynetdicom for it, sent an A-ABORT."""
    return association._sent_abort


def new_message(command_field: int) -> DIMSEMessage | None:
    """Make an empty DIMSE message for a Command Field (PS3.7, E.1); None for an unknown one."""
    kind = _MESSAGE_TYPES.get(command_field)
    return None if kind is None else kind[1]()


def report_message(association: Association, message: DIMSEMessage) -> None:
    """Trigger EVT_DIMSE_RECV."""
    evt.trigger(association, evt.EVT_DIMSE_RECV, {"message": message})


def set_context_id(request: C_STORE, context_id: int | None) -> None:
    """Note the presentation context of a request, which the handler of EVT_C_STORE reads."""
    request._context_id = context_id


def find_data_set_place(request: object) -> tuple[Path, int] | None:
    """Return the file and the offset of the Data Set of a C-STORE request that `send_c_store` made for a file."""
    place: tuple[Path, int] | None = getattr(request, "_dataset_path", None)
    return place


def is_watched(association: Association) -> bool:
    """Return whether an application follows the PDUs of an association by pynetdicom's events."""
    bound: list[Any] = []
    for event in (evt.EVT_DATA_RECV, evt.EVT_PDU_RECV, evt.EVT_FSM_TRANSITION):
        bound += association.get_handlers(event)
    return any(not str(handler.__module__).startswith(("pynetdicom.", "hsm_dicom.")) for handler, _ in bound)


def storage_classes() -> dict[str, str]:
    """Return the storage SOP Classes that pynetdicom knows: keyword to UID."""
    return dict(_STORAGE_CLASSES)


_switch_lock = threading.Lock()
_senders = 0
_switch_before = False


@contextmanager
def keep_stored_bytes() -> Iterator[None]:
    """Have `Association.send_c_store` send a file's bytes as they are, instead of decoding and encoding them.

    pynetdicom has one switch for the whole process; its former value is restored after the last concurrent sender.
    """
    global _senders, _switch_before
    with _switch_lock:
        if not _senders:
            _switch_before, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True
        _senders += 1
    try:
        yield
    finally:
        with _switch_lock:
            _senders -= 1
            if not _senders:
                _config.STORE_SEND_CHUNKED_DATASET = _switch_before


__all__ = [
    "ARTIM_EXPIRED",
    "ATTRIBUTES",
    "AWAITING_CLOSE",
    "CONNECTION_CLOSED",
    "DATA_REQUESTED",
    "ESTABLISHED",
    "IDLE",
    "INVALID_PDU",
    "METHODS",
    "MODE_ACCEPTOR",
    "MODE_REQUESTOR",
    "NO_ADDRESS",
    "TRANSITIONS",
    "AddressInformation",
    "AssociationSocket",
    "BaseAssociation",
    "BaseMessages",
    "BaseUpperLayer",
    "ConnectedSocket",
    "DIMSEMessage",
    "find_data_set_place",
    "has_sent_abort",
    "is_watched",
    "keep_stored_bytes",
    "map_accepted_contexts",
    "new_message",
    "report_message",
    "set_context_id",
    "storage_classes",
]
