"""C-ECHO (PS3.7, 9.1.5; PS3.4, Annex A): does a peer answer, as whom, and over what."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.network.requestor import Timeouts, associate
from hsm_dicom.network.settings import Peer
from hsm_dicom.transport.port import ConnectionFacts, SecureTransport

SUCCESS = 0x0000


@dataclass(frozen=True)
class EchoResult:
    """One answer. `status` is that of PS3.7, Annex C; times are in seconds."""

    peer: str
    facts: ConnectionFacts
    status: int
    seconds_to_associate: float
    seconds_to_answer: float

    @property
    def done(self) -> bool:
        """Whether the peer answered with success."""
        return self.status == SUCCESS


def echo(peer: Peer, transport: SecureTransport, calling_ae_title: str, timeouts: Timeouts | None = None) -> EchoResult:
    """Ask a peer for one C-ECHO response. Raises as `associate` does."""
    started = time.monotonic()
    with associate(peer, transport, calling_ae_title, [build_context(Verification)], timeouts) as opened:
        established = time.monotonic()
        answer = opened.association.send_c_echo()
        answered = time.monotonic()
        if "Status" not in answer:
            raise opened.make_lost_error(peer)
        return EchoResult(peer.name, opened.facts, answer.Status, established - started, answered - established)
