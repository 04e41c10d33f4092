"""Associations that this node requests: connect, secure, check the peer, then request the association.

    with associate(peer, transport, "NODE", [build_context(Verification)]) as opened:
        status = opened.association.send_c_echo()

Every error states the peer. Before sending any byte of DICOM, the requestor validates the peer's certificate and checks
that it belongs to the called AE title.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from hsm_dicom.events import emit
from hsm_dicom.network.authorisation import check_called
from hsm_dicom.network.errors import (
    AssociationLostError,
    AssociationRejectedError,
    ConnectError,
    PeerNotAuthorisedError,
)
from hsm_dicom.network.settings import Peer
from hsm_dicom.network.upper_layer.association import propose_association
from hsm_dicom.network.upper_layer.endings import Ending
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.tls.failures import find_late_refusal
from hsm_dicom.tls.hosts import ascii_host
from hsm_dicom.transport.events import (
    AssociationAccepted,
    AssociationRejected,
    HandshakeFailed,
    make_handshake_event,
)
from hsm_dicom.transport.port import ConnectionFacts, Secured, SecureTransport
from hsm_dicom.transport.pump import join_pump
from hsm_dicom.transport.sockets import READ_SECONDS, set_no_delay
from hsm_dicom.transport.succession import SuccessorRefusedError
from tokens.printable import format_seconds

_END_SECONDS = 20.0
"""Maximum time for the threads of a released or aborted association to end, in seconds; usually they end at once."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Timeouts of a requestor, in seconds: to connect, for the handshake, for each answer, and while idle."""

    connect: float = 10.0
    handshake: float = 15.0
    answer: float = 30.0
    idle: float = 60.0


@dataclass(frozen=True)
class Opened:
    """An association that the peer accepted."""

    association: Association = field(repr=False)
    facts: ConnectionFacts
    secured: Secured = field(repr=False)
    ending: Ending = field(repr=False)

    def make_lost_error(self, peer: Peer) -> AssociationLostError:
        """Make the error for the loss of this association."""
        return AssociationLostError(f"The association with {_at(peer)} was lost: {self.ending.describe(self.secured)}.")


@contextmanager
def associate(
    peer: Peer,
    transport: SecureTransport,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    timeouts: Timeouts | None = None,
) -> Iterator[Opened]:
    """Open an association with a peer; release it when the block ends, abort it when the block raises.

    `contexts` are the presentation contexts to propose, at most 128. Raises `ConnectError`, `HandshakeError`,
    `PeerNotAuthorisedError`, `AssociationRejectedError`, `AssociationLostError`.
    """
    timeouts = timeouts or Timeouts(answer=peer.answer_seconds)
    secured = secure(peer, transport, timeouts)
    try:
        association, ending = _request(peer, secured, calling_ae_title, contexts, timeouts)
    except SuccessorRefusedError:  # TLS 1.3: after the handshake; the next one shows the old certificate
        secured = secure(peer, transport, timeouts)
        association, ending = _request(peer, secured, calling_ae_title, contexts, timeouts)
    opened = Opened(association, secured.facts, secured, ending)
    _report_opened(peer, calling_ae_title, secured.facts)
    try:
        yield opened
    except BaseException as error:
        gone = not association.is_established
        association.abort()
        association.join(_END_SECONDS)
        if gone and isinstance(error, RuntimeError):  # pynetdicom's error for an ended association
            raise opened.make_lost_error(peer) from error
        raise
    # What ended the association may wait for its thread, which sets `is_aborted`.
    was_lost = association.is_aborted or association.acse.is_aborted()
    if not was_lost:
        association.release()
    association.join(_END_SECONDS)
    if was_lost:
        raise opened.make_lost_error(peer)


def secure(peer: Peer, transport: SecureTransport, timeouts: Timeouts | None = None) -> Secured:
    """Open a secured connection to a peer, and check its identity.

    Raises `ConnectError`, `HandshakeError` and `PeerNotAuthorisedError`.
    """
    timeouts = timeouts or Timeouts(answer=peer.answer_seconds)
    try:
        return secure_connection(peer, transport, _connect(peer, timeouts.connect), timeouts.handshake)
    except SuccessorRefusedError:
        return secure_connection(peer, transport, _connect(peer, timeouts.connect), timeouts.handshake)


def secure_connection(peer: Peer, transport: SecureTransport, connection: socket.socket, seconds: float) -> Secured:
    """Secure a TCP connection to a peer within `seconds`, and check its identity. Closes the connection if that fails.

    Raises `HandshakeError` and `PeerNotAuthorisedError`; `SuccessorRefusedError` if a new connection shows the peer
    another certificate.
    """
    set_no_delay(connection)
    try:
        secured = transport.connect(connection, _at(peer), seconds)
    except HandshakeError as failed:
        connection.close()
        if not isinstance(failed, SuccessorRefusedError):
            _report_refused(peer, str(failed), failed)
        raise
    except BaseException:
        connection.close()
        raise
    why = check_called(secured.facts, peer)
    if why is not None:
        _close(secured)
        _report_refused(peer, why, None)
        raise PeerNotAuthorisedError(why)
    emit(make_handshake_event(peer.name, peer.address, secured.facts))
    return secured


def _close(secured: Secured) -> None:
    secured.socket.close()
    join_pump(secured.socket)


def _connect(peer: Peer, seconds: float) -> socket.socket:
    address = peer.address
    try:
        return socket.create_connection((ascii_host(peer.host or ""), peer.port), timeout=seconds)
    except TimeoutError as error:
        raise ConnectError(
            f"{_at(peer)} did not answer within {format_seconds(seconds)}; check that it is switched on and that no "
            f"firewall blocks port {peer.port}."
        ) from error
    except socket.gaierror as error:
        raise ConnectError(
            f"No connection to {_at(peer)} ({error.strerror or error}); check the name and the name server."
        ) from error
    except OSError as error:
        raise ConnectError(
            f"No connection to {_at(peer)} ({error.strerror or error}); check that a program listens on {address}."
        ) from error


def _request(
    peer: Peer,
    secured: Secured,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    timeouts: Timeouts,
) -> tuple[Association, Ending]:
    ae = AE(calling_ae_title)
    ae.acse_timeout = ae.dimse_timeout = timeouts.answer
    ae.network_timeout = timeouts.idle
    try:
        association = propose_association(
            ae, secured, peer.ae_title, contexts, seconds=min(timeouts.answer, READ_SECONDS)
        )
        ending = Ending(association)
        association.negotiate()
    except BaseException:
        _close(secured)
        raise
    if association.is_established:
        return association, ending
    _close(secured)
    raise _make_failure(association, peer, calling_ae_title, secured, ending)


def _make_failure(
    association: Association, peer: Peer, calling_ae_title: str, secured: Secured, ending: Ending
) -> AssociationRejectedError | AssociationLostError | HandshakeError:
    answer = association.acceptor.primitive
    if association.is_rejected and isinstance(answer, A_ASSOCIATE) and answer.result:
        sentence = (
            f"{_at(peer)} rejected the association of '{calling_ae_title}' with '{peer.ae_title}': "
            f"{answer.reason_str.lower()} ({answer.result_str.lower()}, {answer.source_str.lower()})."
        )
        emit(
            AssociationRejected(
                name=peer.name,
                address=peer.address,
                text=sentence,
                calling_ae_title=calling_ae_title,
                called_ae_title=peer.ae_title,
                subject=secured.facts.subject,
                result=answer.result,
                source=answer.result_source or 0,
                reason=answer.diagnostic or 0,
            )
        )
        return AssociationRejectedError(sentence, answer.result, answer.result_source or 0, answer.diagnostic or 0)
    refused = _refusal_in(secured, _at(peer))
    other = None if refused is None or secured.refuse is None else secured.refuse(refused)
    if other is not None:
        return other
    if refused is not None:
        _report_refused(peer, str(refused), refused)
        return refused
    if not association.accepted_contexts and isinstance(answer, A_ASSOCIATE) and answer.result == 0:
        return AssociationLostError(f"{_at(peer)} accepted none of the presentation contexts that were proposed.")
    if ending.ours and getattr(secured.socket, "failure", None) is None:
        seconds = association.acse_timeout or 0.0
        return AssociationLostError(
            f"{_at(peer)} did not answer the request for an association within {format_seconds(seconds)}; see its log."
        )
    return AssociationLostError(f"{_at(peer)} accepted no association: {ending.describe(secured)}; see its log.")


def _refusal_in(secured: Secured, peer: str) -> HandshakeError | None:
    failure = getattr(secured.socket, "failure", None)
    return find_late_refusal(failure, peer) if isinstance(failure, ssl.SSLError) else None


def _report_refused(peer: Peer, sentence: str, failed: HandshakeError | None) -> None:
    verdict = failed.verdict if failed else None
    emit(
        HandshakeFailed(
            name=peer.name,
            address=peer.address,
            text=sentence,
            reason=failed.reason if failed else FailureReason.WRONG_NAME,
            certificate_reason=verdict.reason if verdict else "",
        )
    )


def _report_opened(peer: Peer, calling_ae_title: str, facts: ConnectionFacts) -> None:
    emit(
        AssociationAccepted(
            name=peer.name,
            address=peer.address,
            text=f"Association of '{calling_ae_title}' with {_at(peer)} ({facts}).",
            calling_ae_title=calling_ae_title,
            called_ae_title=peer.ae_title,
            subject=facts.subject,
            profile=facts.profile,
        )
    )


def _at(peer: Peer) -> str:
    return f"'{peer.name}' at {peer.address}"
