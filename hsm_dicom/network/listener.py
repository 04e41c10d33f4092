"""Accepting connections and seeing them through their handshakes, so that no peer can hold up another.

One thread accepts and waits; a small pool computes. A connection takes a place in the pool only while there is
something to compute, so that any number of idle or slow peers costs file descriptors and nothing else, and for no
longer than the deadline. What is secured goes to `serve`; what is refused is told as an event, and its socket is kept
open for a moment so that the peer can read the alert.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hsm_dicom.events import emit
from hsm_dicom.network.errors import CannotListen
from hsm_dicom.network.events import HandshakeRefused, connection_secured, log
from hsm_dicom.network.settings import Limits
from hsm_dicom.network.sockets import answer_at_once
from hsm_dicom.network.transport import Handshake, Secured, SecureTransport, Wants
from hsm_dicom.tls import FailureReason, HandshakeFailed

LINGER_SECONDS = 1.0
"""How long a refused peer may take to read why."""

_BACKLOG = 128
_POLL_SECONDS = 0.25
_DRAIN_BYTES = 65536

Address = tuple[str, int]


@dataclass(eq=False)
class _Pending:
    """One connection in its handshake. Owned by the loop, except while `computing`."""

    number: int
    address: Address
    deadline: float
    handshake: Handshake
    computing: bool = False
    expired: bool = False


@dataclass(frozen=True)
class _Step:
    """What one turn in the pool came to; `served` if the connection was secured and handed over."""

    pending: _Pending
    outcome: Wants | Secured | HandshakeFailed
    served: bool = False


@dataclass
class Counts:
    """What a listener has seen, for whoever watches it."""

    accepted: int = 0
    secured: int = 0
    refused: int = 0


class Listener:
    """Listens on one address. `transport` may be replaced at any time; connections in progress keep theirs.

    `serve` is called with each secured connection and the peer's address, in a thread of the pool; it returns soon.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        transport: SecureTransport,
        serve: Callable[[Secured, Address], None],
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.transport = transport
        self.limits = limits or Limits()
        self.counts = Counts()
        self._serve = serve
        self._socket = _listening(address)
        self._steps: queue.SimpleQueue[_Step] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._lingering: OrderedDict[socket.socket, float] = OrderedDict()
        self._pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix=f"handshake-{name}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener-{name}")

    @property
    def address(self) -> Address:
        """Host and port that are listened on."""
        host, port, *_ = self._socket.getsockname()
        return str(host), int(port)

    def start(self) -> None:
        """Begin to accept."""
        for waiting in (self._socket, self._woken):
            waiting.setblocking(False)
            self._selector.register(waiting, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more and drop what is in its handshake. Connections that were served live on."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._drain_steps()
        for pending in list(self._pending.values()):
            self._forget(pending)
        for waiting in (*self._lingering, self._socket, self._wake_up, self._woken):
            waiting.close()
        self._selector.close()

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
                log.exception("The listener '%s' goes on after an error.", self.name)
                time.sleep(_POLL_SECONDS)

    def _turn(self) -> None:
        for key, _ in self._selector.select(_POLL_SECONDS):
            if key.fileobj is self._socket:
                self._accept()
            elif key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif key.data is None:
                self._drain(key.fileobj)  # type: ignore[arg-type]
            else:
                self._compute(key.data)
        self._drain_steps()
        self._expire()

    def _accept(self) -> None:
        try:
            connection, address = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of file descriptors, most likely: those that wait must end first.
            log.error("The listener '%s' cannot accept a connection (%s).", self.name, error.strerror)
            time.sleep(_POLL_SECONDS)
            return
        self.counts.accepted += 1
        if len(self._pending) >= self.limits.handshakes:
            self._drop_oldest()
        answer_at_once(connection)
        peer: Address = (str(address[0]), int(address[1]))
        try:
            handshake = self.transport.accept(connection, _text(peer))
        except HandshakeFailed as failed:
            connection.close()
            self._refused(peer, failed)
            return
        deadline = time.monotonic() + self.limits.handshake_seconds
        pending = _Pending(self.counts.accepted, peer, deadline, handshake)
        self._pending[pending.number] = pending
        self._await(pending, Wants.TO_READ)

    def _await(self, pending: _Pending, wants: Wants) -> None:
        event = selectors.EVENT_READ if wants is Wants.TO_READ else selectors.EVENT_WRITE
        self._selector.register(pending.handshake.fileno(), event, pending)

    def _compute(self, pending: _Pending) -> None:
        self._selector.unregister(pending.handshake.fileno())
        pending.computing = True
        self._pool.submit(self._advance, pending)

    def _advance(self, pending: _Pending) -> None:
        """In the pool: one step of a handshake."""
        outcome: Wants | Secured | HandshakeFailed
        try:
            outcome = pending.handshake.advance()
        except HandshakeFailed as failed:
            outcome = failed
        except Exception as error:
            log.exception("A handshake ended on an unexpected error.")
            peer = _text(pending.address)
            outcome = HandshakeFailed(
                FailureReason.PROTOCOL_ERROR, peer, f"The handshake with {peer} failed ({type(error).__name__})."
            )
        served = isinstance(outcome, Secured) and not pending.expired
        if served and isinstance(outcome, Secured):
            self._hand_over(outcome, pending.address)
        self._steps.put(_Step(pending, outcome, served))
        self._wake()

    def _hand_over(self, secured: Secured, address: Address) -> None:
        emit(connection_secured(self.name, _text(address), secured.facts))
        try:
            self._serve(secured, address)
        except Exception:
            log.exception("A secured connection could not be served.")
            secured.socket.close()

    def _drain_steps(self) -> None:
        while True:
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                return
            self._settle(step)

    def _settle(self, step: _Step) -> None:
        pending = step.pending
        pending.computing = False
        if step.served:
            self._pending.pop(pending.number, None)
            self.counts.secured += 1
        elif isinstance(step.outcome, HandshakeFailed):
            self._refuse(pending, step.outcome)
        elif isinstance(step.outcome, Secured):
            # Too late; what was secured has threads of its own, and ends as it would after being served.
            self._pending.pop(pending.number, None)
            step.outcome.socket.close()
            self._refused(pending.address, _timed_out(pending, self.limits, self.transport))
        elif pending.expired:
            self._refuse(pending, _timed_out(pending, self.limits, self.transport))
        else:
            self._await(pending, step.outcome)

    # -- ends -----------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        now = time.monotonic()
        while self._pending and next(iter(self._pending.values())).deadline < now:
            _, pending = self._pending.popitem(last=False)
            if pending.computing:
                pending.expired = True  # told when its step is over
            else:
                self._unregister(pending)
                self._refuse(pending, _timed_out(pending, self.limits, self.transport))
        while self._lingering and next(iter(self._lingering.values())) < now:
            waiting, _ = self._lingering.popitem(last=False)
            self._selector.unregister(waiting)
            waiting.close()

    def _drop_oldest(self) -> None:
        for pending in self._pending.values():
            if not pending.computing:
                peer = _text(pending.address)
                self._unregister(pending)
                self._refuse(
                    pending,
                    HandshakeFailed(
                        FailureReason.TIMED_OUT,
                        peer,
                        f"{peer} was dropped in its handshake: more than {self.limits.handshakes} connections are in "
                        "theirs, and it has taken the longest.",
                    ),
                )
                return

    def _refuse(self, pending: _Pending, failed: HandshakeFailed) -> None:
        self._pending.pop(pending.number, None)
        self._refused(pending.address, failed)
        waiting = pending.handshake.give_up()
        if len(self._lingering) >= self.limits.handshakes:
            waiting.close()
            return
        try:
            waiting.setblocking(False)
            waiting.shutdown(socket.SHUT_WR)
            self._selector.register(waiting, selectors.EVENT_READ)
        except (OSError, ValueError):
            waiting.close()
        else:
            self._lingering[waiting] = time.monotonic() + LINGER_SECONDS

    def _drain(self, waiting: socket.socket) -> None:
        # Closing with unread data would reset the connection, and the peer would lose the alert.
        try:
            if waiting.recv(_DRAIN_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._lingering.pop(waiting, None)
        self._selector.unregister(waiting)
        waiting.close()

    def _refused(self, address: Address, failed: HandshakeFailed) -> None:
        self.counts.refused += 1
        emit(
            HandshakeRefused(
                name=self.name,
                address=_text(address),
                sentence=f"{self.name}: {failed}",
                reason=failed.reason,
                certificate_reason=failed.verdict.reason if failed.verdict else "",
            )
        )

    def _forget(self, pending: _Pending) -> None:
        self._unregister(pending)
        self._pending.pop(pending.number, None)
        pending.handshake.give_up().close()

    def _unregister(self, pending: _Pending) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pending.handshake.fileno())

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_up.send(b"\0")


_LISTENING = {
    errno.EADDRINUSE: "Find the program that uses the port (ss -ltnp), or set another port.",
    errno.EADDRNOTAVAIL: "No interface of this machine has this address; set host to one that ip address lists.",
    errno.EACCES: "Ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or set port to 1024 or above.",
}
"""What to do where an address cannot be used, by errno."""


def _listening(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        remedy = _LISTENING.get(error.errno or 0, "Correct host and port of the listener.")
        why = os.strerror(error.errno or 0)
        raise CannotListen(f"The listener cannot use {_text(address)}: {why}. {remedy}") from error


def _timed_out(pending: _Pending, limits: Limits, transport: SecureTransport) -> HandshakeFailed:
    peer = _text(pending.address)
    return HandshakeFailed(
        FailureReason.TIMED_OUT,
        peer,
        f"{peer} did not finish its handshake within {limits.handshake_seconds:g} seconds; see whether it speaks "
        f"{transport.name}.",
    )


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
