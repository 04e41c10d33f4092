"""Accept connections, and do their handshakes so that no peer can delay another.

One thread accepts and watches the deadlines; a small pool of threads waits for the connections and computes. Idle or
slow peers therefore cost only file descriptors, until their deadline, and their number is limited
(`unidentified/places.py`). When its A-ASSOCIATE-RQ has arrived, a connection is passed to `serve`. Each refusal emits
an event, and the socket stays open briefly so that the peer can read the reason.
"""

from __future__ import annotations

import math
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from hsm_dicom.events import emit
from hsm_dicom.network.addresses import (
    Address,
    can_bind,
    check_bound_socket,
    format_address,
    make_address,
    open_listening_socket,
)
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import Limits
from hsm_dicom.network.unidentified.lingering import Lingering
from hsm_dicom.network.unidentified.pending import (
    MALFORMED_REQUEST,
    NO_PLACE,
    REQUEST_TIMEOUT,
    Counts,
    Pending,
    get_descriptor,
    get_socket,
    make_timeout_error,
)
from hsm_dicom.network.unidentified.places import Places, get_origin
from hsm_dicom.network.unidentified.readiness import Readiness, Turnstile
from hsm_dicom.network.unidentified.reports import (
    report_failed_handshake,
    report_missing_address,
    report_rejected_connection,
)
from hsm_dicom.network.unidentified.workers import Workers
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.network.upper_layer.pdu import abort
from hsm_dicom.network.upper_layer.request import Left, Requested, RequestReading, send_last_pdu
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.alarm import Alarm
from hsm_dicom.transport.events import log, make_handshake_event
from hsm_dicom.transport.port import Secured, SecureTransport, Wants
from hsm_dicom.transport.pump import PumpedSocket
from hsm_dicom.transport.sockets import set_no_delay
from tokens.printable import format_seconds

_PAUSE_SECONDS = 0.25
_WORKERS_SECONDS = 1.0
"""Maximum time for the handshakes that compute when the listener stops. A device that works answers within it."""

Serve = Callable[[Secured, Address, AssociateRequest], bytes | None]
"""Function that serves a connection and its request: returns None, or the PDU to reject it.

Called in the pool. `unidentified.workers.continue_with` lets the thread go on with the association."""


@dataclass(frozen=True)
class _Step:
    """How a connection that was not served ended in the pool; `parting` is the socket of one that got a last PDU."""

    pending: Pending
    outcome: Requested | Left | HandshakeError | PDUError
    parting: socket.socket | None = None


class Listener:
    """Listener on one address. `transport` may be replaced at any time; connections in progress keep the old one.

    `bound` is a socket that already listens, such as one that systemd passed; the listener closes it when it stops.
    Raises `ListenError`.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        transport: SecureTransport,
        serve: Serve,
        limits: Limits | None = None,
        bound: socket.socket | None = None,
    ) -> None:
        if bound is not None:
            check_bound_socket(name, bound)
        self.name = name
        self.transport = transport
        self.limits = limits or Limits()
        self.counts = Counts()
        self._serve = serve
        self._socket = open_listening_socket(address) if bound is None else bound
        if bound is None and not can_bind(address[0]):
            report_missing_address(name, address)
        self._steps: queue.SimpleQueue[_Step] = queue.SimpleQueue()
        self._readiness: Readiness[socket.socket | Alarm] = Readiness()
        self._turnstile: Turnstile[Pending] = Turnstile()
        self._alarm = Alarm()
        self._places: Places[Pending] = Places(self.limits)
        self._lingering = Lingering(self._readiness, self.limits.unidentified)
        self._pumped: WeakSet[PumpedSocket] = WeakSet()
        """Sockets with their own threads that do not belong to an association yet; the threads keep them alive."""
        self._workers: Workers[Pending] = Workers(
            self.limits.workers, f"handshake-{name}", self._turnstile, Pending.begin_computing, self._advance
        )
        self._next_turn = math.inf
        """When the loop goes on although nothing happens."""
        self._changing = threading.Lock()
        self._turned = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener-{name}")

    @property
    def address(self) -> Address:
        """Host and port of the listening socket."""
        return make_address(self._socket.getsockname())

    def start(self) -> None:
        """Start accepting connections."""
        self._socket.setblocking(False)
        for waiting in (self._socket, self._alarm):
            self._readiness.watch(waiting.fileno(), waiting)
        self._workers.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, and close unidentified connections. Connections that were passed to `serve` continue."""
        self._stopping.set()
        self._alarm.ring()
        if self._thread.ident is not None:
            self._thread.join()
        left = self._workers.stop(_WORKERS_SECONDS)
        if left:
            log.warning("%s: %d handshakes have not ended, because their device does not answer.", self.name, left)
        self._drain_steps()
        for pending in [*self._places.inside, *self._places.waiting]:
            self._forget(pending)
            self._places.leave(pending)
            get_socket(pending).close()
        self._lingering.close()
        for pumped in list(self._pumped):
            pumped.join()
        for waiting in (self._socket, self._alarm):
            waiting.close()
        self._readiness.close()
        if not left:
            self._turnstile.close()

    def ping(self, seconds: float) -> bool:
        """Return whether the accept loop goes round within so many seconds. Handshakes and associations do not matter.

        The loop is woken for it, so that it needs no timer of its own.
        """
        self._turned.clear()
        self._alarm.ring()
        return self._turned.wait(seconds)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the loop -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:
                log.exception("The listener '%s' continues after an unexpected error.", self.name)
                time.sleep(_PAUSE_SECONDS)

    def _turn(self) -> None:
        for ready in self._readiness.wait(self._seconds_to_wait()):
            if ready is self._socket:
                self._accept()
            elif isinstance(ready, Alarm):
                ready.silence()
            else:
                self._lingering.drain(ready)
        self._drain_steps()
        self._expire()
        self._admit()
        self._turned.set()

    def _seconds_to_wait(self) -> float | None:
        """Return the seconds until the next deadline; None if there is none."""
        self._next_turn = math.inf  # whoever changes a deadline from now on wakes the loop
        now = time.monotonic()
        times = [one.deadline for one in self._places.inside if not one.computing or one.deadline > now]
        times += [one.deadline for one in self._places.waiting]
        others = (self._lingering.next_end(), self._places.next_yield(now))
        times += [one for one in others if one is not None]
        if not times:
            return None
        self._next_turn = min(times)
        return max(0.0, self._next_turn - now)

    def _accept(self) -> None:
        try:
            connection, address = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Probably no file descriptors are left; wait until connections end.
            log.error("The listener '%s' cannot accept a connection (%s).", self.name, error.strerror)
            time.sleep(_PAUSE_SECONDS)
            return
        self.counts.accepted += 1
        set_no_delay(connection)
        peer = make_address(address)
        now = time.monotonic()
        deadline = now + self.limits.handshake_seconds
        pending = Pending(self.counts.accepted, peer, get_origin(peer[0]), connection, deadline)
        if self._places.take(pending, now):
            self._begin(pending)
            return
        crowded_out = self._places.enqueue(pending)
        if crowded_out is not None:
            self._no_place(crowded_out, "too many others wait for one")

    def _begin(self, pending: Pending) -> None:
        """Begin the handshake of a connection that has a place."""
        pending.deadline = time.monotonic() + self.limits.handshake_seconds
        try:
            pending.step = self.transport.accept(pending.connection, format_address(pending.address))
        except HandshakeError as failed:
            self._places.leave(pending)
            pending.connection.close()
            self._report_refusal(pending.address, failed)
            return
        self._await(pending, Wants.TO_READ)

    def _await(self, pending: Pending, wants: Wants) -> None:
        """Have a thread of the pool take a connection when it is ready. Called in the loop or in the pool."""
        descriptor, deadline = get_descriptor(pending), pending.deadline
        if descriptor != pending.descriptor:
            self._forget(pending)
            pending.descriptor = descriptor
        was_computing = pending.computing
        self._turnstile.arm(descriptor, pending, wants, pending.end_computing if was_computing else None)
        if was_computing and (deadline < self._next_turn or self._places.waiting):
            self._alarm.ring()

    def _forget(self, pending: Pending) -> None:
        """Wait no more for a connection. The number of its descriptor soon means another one."""
        self._turnstile.forget(pending.descriptor)
        pending.descriptor = -1

    def _claim(self, pending: Pending) -> bool:
        """Take a connection that no thread of the pool has, and return whether that is so."""
        return self._turnstile.claim(pending.descriptor)

    def _advance(self, pending: Pending) -> None:
        """Go on with a handshake and the request after it, until the peer has to do something. Called in the pool."""
        peer = format_address(pending.address)
        outcome: Requested | Left | HandshakeError | PDUError
        parting: socket.socket | None = None
        try:
            result = self._advance_step(pending)
            if isinstance(result, Wants):
                self._await(pending, result)
                return
            outcome = result
            if isinstance(outcome, Requested):
                self._forget(pending)
                answer = self._serve(outcome.secured, pending.address, outcome.request)
                if answer is None:
                    self._note_served(pending, outcome)
                    return
                parting = send_last_pdu(outcome.secured, answer)
        except HandshakeError as failed:
            outcome = failed
        except PDUError as problem:
            outcome = problem
        except Exception as error:
            log.exception("A connection ended because of an unexpected error.")
            what = f"The handshake with {peer} failed ({type(error).__name__})."
            outcome = HandshakeError(FailureReason.PROTOCOL_ERROR, peer, what)
        if isinstance(pending.step, RequestReading) and isinstance(outcome, PDUError | HandshakeError):
            reason = outcome.abort_reason if isinstance(outcome, PDUError) else 0
            parting = send_last_pdu(pending.step.secured, abort(reason))
        self._steps.put(_Step(pending, outcome, parting))
        self._alarm.ring()

    def _note_served(self, pending: Pending, served: Requested) -> None:
        """Free the place of a connection that is identified and served. Called in the pool."""
        with self._changing:
            self.counts.identified += 1
            if isinstance(served.secured.socket, PumpedSocket):
                self._pumped.discard(served.secured.socket)
        self._places.leave(pending)
        if self._places.waiting:
            self._alarm.ring()

    def _advance_step(self, pending: Pending) -> Wants | Requested | Left:
        step = pending.step
        if step is None:
            raise RuntimeError("This connection has no place yet.")
        if not isinstance(step, RequestReading):
            outcome = step.advance()
            if not isinstance(outcome, Secured):
                return outcome
            if outcome.facts.is_secured:
                emit(make_handshake_event(self.name, format_address(pending.address), outcome.facts))
            with self._changing:
                self.counts.secured += 1
                if isinstance(outcome.socket, PumpedSocket):
                    self._pumped.add(outcome.socket)
            pending.deadline = time.monotonic() + self.limits.request_seconds
            pending.step = step = RequestReading(outcome, self.limits.request_seconds)
        # The request may already be in the transport's buffer, where nobody could wait for it.
        return step.advance()

    def _drain_steps(self) -> None:
        while True:
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                return
            self._settle(step)

    def _settle(self, step: _Step) -> None:
        pending, outcome = step.pending, step.outcome
        pending.end_computing()
        self._forget(pending)
        if isinstance(outcome, Requested):
            self._places.leave(pending)
            self.counts.rejected += 1
            self._lingering.add(step.parting or get_socket(pending))
        elif isinstance(outcome, Left):
            self._places.leave(pending)
            self.counts.left += 1
            get_socket(pending).close()
        elif isinstance(outcome, PDUError):
            self._places.leave(pending)
            self._refuse_after_handshake(pending, f"it sent {outcome}", MALFORMED_REQUEST)
            self._lingering.add(step.parting or get_socket(pending))
        else:
            self._refuse(pending, outcome, step.parting)

    # -- ends -----------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        admitted, yielded = self._places.admit(time.monotonic(), self._claim)
        for pending in yielded:
            self._no_place(
                pending, f"it took more than {format_seconds(self.limits.yield_seconds)}, and others wait for one"
            )
        for pending in admitted:
            self._begin(pending)

    def _expire(self) -> None:
        now = time.monotonic()
        for pending in [one for one in self._places.inside if one.deadline < now and self._claim(one)]:
            if isinstance(pending.step, RequestReading):
                self._places.leave(pending)
                seconds = format_seconds(self.limits.request_seconds)
                self._refuse_after_handshake(
                    pending, f"it did not request an association within {seconds}", REQUEST_TIMEOUT
                )
                self._lingering.add(send_last_pdu(pending.step.secured, abort()))
            else:
                self._refuse(pending, make_timeout_error(pending, self.limits, self.transport))
        for pending in [one for one in self._places.waiting if one.deadline < now]:
            self._places.leave(pending)
            self._no_place(pending, f"it waited for one for {format_seconds(self.limits.handshake_seconds)}")
        self._lingering.expire(now)

    def _no_place(self, pending: Pending, why: str) -> None:
        self.counts.refuse(NO_PLACE)
        why = f", because no place is free: {why}"
        report_rejected_connection(self.name, pending, why, NO_PLACE)
        get_socket(pending).close()

    def _refuse(self, pending: Pending, failed: HandshakeError, parting: socket.socket | None = None) -> None:
        self._places.leave(pending)
        self._report_refusal(pending.address, failed)
        self._lingering.add(parting or get_socket(pending))

    def _report_refusal(self, address: Address, failed: HandshakeError) -> None:
        self.counts.refuse(failed.reason)
        report_failed_handshake(self.name, address, failed)

    def _refuse_after_handshake(self, pending: Pending, what: str, reason: str) -> None:
        self.counts.refuse(reason)
        report_rejected_connection(self.name, pending, f": {what}", reason)
