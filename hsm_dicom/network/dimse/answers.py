"""Answers matched to requests: Message ID, command and instance (PS3.7, 9.1 and 9.3).

pynetdicom takes the next message as the answer to its request, whatever it answers. With a peer that answers twice, or
for another instance, a file would count as stored that never was. So every request of an association gets its own
Message ID, and only an answer with this ID, the right command and the right instance is accepted.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from hsm_dicom.network._pynetdicom import find_data_set_place
from hsm_dicom.network.dimse.messages import MessageReceiver, StartStoring
from hsm_dicom.network.upper_layer.file_data import FileData
from hsm_dicom.network.upper_layer.provider import UpperLayer
from hsm_dicom.transport.events import log
from tokens.printable import format_seconds

MESSAGE_IDS = 1 << 16
"""How many Message IDs there are: US, 16 bits (PS3.7, Annex E)."""


class MatchedAnswers(MessageReceiver):
    """The DIMSE service of a requestor. `fault` says why a request went without an answer that fits."""

    def __init__(
        self, association: Association, notify: Callable[[], None], start_storing: StartStoring | None = None
    ) -> None:
        super().__init__(association, notify, start_storing)
        self.fault = ""
        self._numbers = itertools.count(1)
        self._request: Any = None
        self._answered: set[int] = set()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; a request gets the next Message ID of this association."""
        if primitive.MessageIDBeingRespondedTo is None:
            primitive.MessageID = next(self._numbers) % MESSAGE_IDS
            self._answered.discard(primitive.MessageID)
            self._request, self.fault = primitive, ""
        place = find_data_set_place(primitive)
        if place is None:
            super().send_msg(primitive, context_id)
        else:
            self._send_file(primitive, context_id, *place)

    def _send_file(self, request: C_STORE, context_id: int, path: Path, offset: int) -> None:
        """Send a request whose Data Set is in a file. Raises `OSError` if the file cannot be read."""
        upper_layer = self.assoc.dul
        if not isinstance(upper_layer, UpperLayer):
            raise TypeError("Only an association of hsm-dicom sends from files.")
        data = FileData.open(path, offset, context_id, self.maximum_pdu_size)
        try:
            self.send_command(request, context_id)
            upper_layer.send_pdu(data)
            data.wait(upper_layer.ended)
        finally:
            data.close()

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message, or with `block` the answer to the last request: its context and primitive.

        A second answer to a request that was answered before is dropped. Returns (None, None) if the time is over, the
        association has ended, or the answer does not fit; `fault` then has the reason, unless the association ended.
        """
        if not block:
            return super().get_msg()
        allowed = self.dimse_timeout
        deadline = None if allowed is None else time.monotonic() + allowed
        while True:
            try:
                context_id, answer = self.msg_queue.get(
                    timeout=None if deadline is None else max(0.0, deadline - time.monotonic())
                )
            except queue.Empty:
                self.fault = f"it did not answer {self._name} within {format_seconds(allowed or 0.0)}"
                return None, None
            if answer is None:
                return None, None
            if answer.MessageIDBeingRespondedTo in self._answered:
                log.warning(
                    "A peer answered request %d again; the answer is ignored.", answer.MessageIDBeingRespondedTo
                )
                continue
            self.fault = self._why_unfit(answer)
            if self.fault:
                return None, None
            self._answered.add(self._request.MessageID)
            return context_id, answer

    @property
    def _name(self) -> str:
        return f"{_command(self._request)} request {self._request.MessageID}"

    def _why_unfit(self, answer: Any) -> str:
        """Say why this is no answer to the last request; empty if it is one."""
        request = self._request
        number = answer.MessageIDBeingRespondedTo
        if number is None:
            return f"it sent a {_command(answer)} request instead of answering {self._name}"
        if number != request.MessageID:
            return f"it answered a request {number} that was not made, instead of {self._name}"
        if type(answer) is not type(request):
            return f"it answered {self._name} with a {_command(answer)} response"
        if not answer.is_valid_response:
            return f"it answered {self._name} without a status"
        asked = getattr(request, "AffectedSOPInstanceUID", None)
        received = getattr(answer, "AffectedSOPInstanceUID", None)
        # The parameter may be left out of an answer; if it is there, it is that of the request (PS3.7, Table 9.1-1).
        if received and str(received) != str(asked):
            return f"it answered {self._name} for another instance, {received}, instead of {asked}"
        return ""


def _command(message: Any) -> str:
    return type(message).__name__.replace("_", "-")
