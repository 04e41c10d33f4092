"""Describe how an association ended: by whom, and for which reason (PS3.8, 7.3, 7.4 and 9.3.8)."""

from __future__ import annotations

import ssl
from typing import Any

from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.pdu import A_ABORT_RQ

from hsm_dicom.network._pynetdicom import has_sent_abort
from hsm_dicom.network.dimse.answers import MatchedAnswers
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.association import SecuredAssociation
from hsm_dicom.tls.failures import alert_meaning
from hsm_dicom.transport.port import Secured
from tokens.printable import format_seconds

_BY_PROVIDER = 2
_PROVIDER_REASONS = {
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
"""Table 9-26 of PS3.8."""


class Ending:
    """Remembers the A-ABORT PDUs of one association of either side, by which it ended or did not come about."""

    def __init__(self, association: SecuredAssociation) -> None:
        self._association = association
        self._received: A_ABORT_RQ | None = None
        self._not_valid = False
        association.bind(evt.EVT_PDU_RECV, self._look_at_received)
        association.bind(evt.EVT_PDU_SENT, self._look_at_sent)

    @property
    def ours(self) -> bool:
        """Whether we ended the association, rather than the peer or the network."""
        return self._received is None and (has_sent_abort(self._association) or self._not_valid)

    def describe(self, secured: Secured) -> str:
        """Return the reason, as a clause without a full stop."""
        association = self._association
        failure = getattr(secured.socket, "failure", None)
        fault = association.dimse.fault if isinstance(association.dimse, MatchedAnswers) else ""
        if self._received is not None:
            return f"the peer aborted it ({_abort(self._received)})"
        if failure is not None:
            return describe_failure(failure)
        if fault:
            return fault
        if self._not_valid:
            return "the peer sent a message that is not valid at this point"
        if not has_sent_abort(association):
            return "the peer closed the connection"
        if association.was_idle:
            return f"we ended it, because it was idle for {format_seconds(association.network_timeout or 0.0)}"
        return "we ended it"

    def _look_at_received(self, event: Event) -> None:
        if isinstance(event.pdu, A_ABORT_RQ) and self._received is None and not self.ours:
            self._received = event.pdu

    def _look_at_sent(self, event: Event) -> None:
        # pynetdicom's state machine sends this one by itself, for what it cannot decode or does not expect.
        if isinstance(event.pdu, A_ABORT_RQ) and event.pdu.source == _BY_PROVIDER and self._received is None:
            self._not_valid = True


def describe_failure(failure: Exception) -> str:
    """Describe why the connection under an association failed, without a full stop."""
    if isinstance(failure, PDUError):
        return f"the peer sent {failure}"
    if isinstance(failure, TimeoutError):
        return "the peer stopped in the middle of a PDU"
    if isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return "the peer closed the connection"
    if isinstance(failure, ssl.SSLError):
        meaning = alert_meaning(failure)
        if meaning is not None:
            return f"the peer refused us: {meaning}"
        reason = (failure.reason or "TLS error").lower().replace("_", " ")
        return f"the secure connection failed its integrity check or was misused ({reason})"
    return f"the connection was lost ({getattr(failure, 'strerror', None) or type(failure).__name__})"


def _abort(pdu: Any) -> str:
    if pdu.source != _BY_PROVIDER:
        return "A-ABORT by its application"
    reason = _PROVIDER_REASONS.get(pdu.reason_diagnostic, f"reason {pdu.reason_diagnostic}")
    return f"A-ABORT by its upper layer: {reason}"
