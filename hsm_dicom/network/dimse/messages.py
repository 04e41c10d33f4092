"""DIMSE messages assembled from Presentation Data Values, in bounded memory (PS3.7, 6.3; PS3.8, Annex E).

pynetdicom collects each message in memory, however long it is. Here a command set and the Data Set of most messages
have a limit, and the Data Set of a C-STORE-RQ goes where `DataSetSink` puts it while it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import P_DATA

from hsm_dicom.network._pynetdicom import (
    BaseMessages,
    DIMSEMessage,
    map_accepted_contexts,
    new_message,
    report_message,
    set_context_id,
)
from hsm_dicom.network.dimse.commands import C_STORE_RQ, MESSAGE_ID, CommandSet
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.pdu import presentation_data_values
from hsm_dicom.network.upper_layer.provider import NotifyingQueue, UpperLayer

MAXIMUM_COMMAND = 1 << 20
"""Bytes of the longest command set that is taken."""

MAXIMUM_HELD = 64 << 20
"""Bytes of the longest Data Set that is held in memory, where no sink takes it."""

WAITING_MESSAGES = 16
"""Messages that may wait to be served. Without asynchronous operations (PS3.7, D.3.3.3), there is one at a time."""

_IS_COMMAND, _IS_LAST = 1, 2


class DataSetSink(Protocol):
    """Where the Data Set of one C-STORE-RQ goes. Nothing here raises: the answer reports what failed."""

    @property
    def sop_class_uid(self) -> str | None:
        """The Affected SOP Class UID, if it is a UID."""

    @property
    def sop_instance_uid(self) -> str | None:
        """The Affected SOP Instance UID, if it is a UID."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Take a part of it, which is not valid any more after the call."""

    def discard(self) -> None:
        """Forget it; harmless to repeat."""


StartStoring = Callable[[Association, int, CommandSet], DataSetSink]
"""From an association, a presentation context ID and the command set of a C-STORE-RQ to the place for the Data Set."""


class MessageReceiver(BaseMessages):
    """The DIMSE service of one association. `start_storing` takes the Data Sets of C-STORE-RQ messages, if given."""

    def __init__(
        self, association: Association, notify: Callable[[], None], start_storing: StartStoring | None = None
    ) -> None:
        super().__init__(association)
        self.msg_queue = NotifyingQueue(notify)
        self._start_storing = start_storing
        self._command = bytearray()
        self._message: DIMSEMessage | None = None
        self._message_id = 0
        self._sink: DataSetSink | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take what came; what is malformed ends the association. Called in the Upper Layer's thread."""
        try:
            for context_id, value in primitive.presentation_data_value_list:
                self._take(context_id, value[0], value[1:])
        except PDUError as problem:
            self.discard()
            upper_layer = self.assoc.dul
            if isinstance(upper_layer, UpperLayer):
                upper_layer.refuse(problem)

    def receive_data(self, pdu: memoryview) -> None:
        """Take a P-DATA-TF, which is not valid any more after the call. Called in the Upper Layer's thread.

        Raises `PDUError` for what is malformed.
        """
        try:
            for context_id, start, end in presentation_data_values(pdu):
                self._take(context_id, pdu[start], pdu[start + 1 : end])
        except PDUError:
            self.discard()
            raise

    def discard(self) -> None:
        """Forget what was not served, when the association is over."""
        if self._sink is not None:
            self._sink.discard()
        self._message = self._sink = None
        while not self.msg_queue.empty():
            _, message = self.msg_queue.get_nowait()
            sink = get_sink(message)
            if sink is not None:
                sink.discard()

    def _take(self, context_id: int, control: int, data: bytes | memoryview) -> None:
        if context_id not in map_accepted_contexts(self.assoc):
            raise PDUError(f"a message in presentation context {context_id}, which was not accepted")
        if control & _IS_COMMAND:
            if self._message is not None:
                raise PDUError("a command in the middle of a Data Set")
            self._command += data
            if len(self._command) > MAXIMUM_COMMAND:
                raise PDUError(f"a command set of more than {MAXIMUM_COMMAND} bytes")
            if control & _IS_LAST:
                self._begin(context_id)
            return
        message = self._message
        if message is None or message.context_id != context_id:
            raise PDUError("a Data Set without its command")
        if self._sink is not None:
            self._sink.write(data)
        elif message.data_set is not None:
            message.data_set.write(data)
            if message.data_set.tell() > MAXIMUM_HELD:
                raise PDUError(f"a Data Set of more than {MAXIMUM_HELD >> 20} MiB, which nothing stores")
        if control & _IS_LAST:
            self._complete(message)

    def _begin(self, context_id: int) -> None:
        """Begin the message whose command set is complete."""
        encoded = bytes(self._command)
        self._command.clear()
        command = CommandSet.read(encoded)
        message = new_message(command.field)
        if message is None:
            raise PDUError(f"the unknown command {command.field:04X}H")
        if self.msg_queue.qsize() >= WAITING_MESSAGES:
            raise PDUError("more messages at once than were agreed on")
        message.context_id, message.data_set = context_id, BytesIO()
        self._message = message
        if command.field == C_STORE_RQ and self._start_storing is not None:
            self._message_id = command.number(MESSAGE_ID)
            self._sink = self._start_storing(self.assoc, context_id, command)
        else:
            message.command_set = self._decode_command(encoded)
        if not command.has_data_set:
            self._complete(message)

    @staticmethod
    def _decode_command(encoded: bytes) -> Dataset:
        try:
            return decode(BytesIO(encoded), True, True)
        except Exception as error:  # a foreign parser on bytes from the network
            raise PDUError(f"a command set that cannot be read ({type(error).__name__})") from error

    def _complete(self, message: DIMSEMessage) -> None:
        sink, self._sink, self._message = self._sink, None, None
        primitive: Any
        if sink is not None:
            primitive = C_STORE()
            primitive.MessageID = self._message_id
            primitive.AffectedSOPClassUID = sink.sop_class_uid
            primitive.AffectedSOPInstanceUID = sink.sop_instance_uid
            set_context_id(primitive, message.context_id)
            primitive.sink = sink
        else:
            report_message(self.assoc, message)
            try:
                primitive = message.message_to_primitive()
            except Exception as error:  # a foreign parser on bytes from the network
                raise PDUError(f"a message that cannot be read ({type(error).__name__})") from error
        self.msg_queue.put((int(message.context_id or 0), primitive))


def get_sink(request: object) -> DataSetSink | None:
    """Return where the Data Set of a C-STORE request went; None if it is held in memory."""
    sink: DataSetSink | None = getattr(request, "sink", None)
    return sink
