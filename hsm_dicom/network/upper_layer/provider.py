"""pynetdicom's Upper Layer service provider, with reading and waiting replaced (PS3.8, 9.2).

pynetdicom polls every millisecond, and reads PDUs of any length without a deadline. Here its state machine is kept, and
its input is replaced: the thread sleeps until the socket, another thread or a deadline wakes it; `PDUReader` checks
PDUs; and every error ends the connection, with an A-ABORT where possible and without a traceback.

In an established association, a P-DATA-TF changes no state. It goes from the reader to `take_data`, and Data Sets in
files (`FileData`) go to the connection, without pynetdicom's decoding and encoding.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pynetdicom.association import Association

from hsm_dicom.network._pynetdicom import (
    ARTIM_EXPIRED,
    AWAITING_CLOSE,
    CONNECTION_CLOSED,
    DATA_REQUESTED,
    ESTABLISHED,
    IDLE,
    INVALID_PDU,
    BaseUpperLayer,
    is_watched,
)
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.file_data import FileData
from hsm_dicom.network.upper_layer.negotiation import Proposal, read_answer
from hsm_dicom.network.upper_layer.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    P_DATA_TF,
    PDU,
    RELEASE_RP,
    RELEASE_RQ,
    DataPDU,
    PDUReader,
    abort,
)
from hsm_dicom.transport.events import log

OUTGOING = 16
"""Primitives that may wait to be sent. A sender of more waits, so that a large object is never held in memory."""

_PDUS_AT_A_TIME = 8
"""PDUs of a file that are sent before the thread looks whether the peer has sent something."""

LINGER_SECONDS = 1.0
"""How long a peer may take to close the connection after the last PDU."""

_FROM_REQUESTORS = frozenset((P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT))
"""What may come after the A-ASSOCIATE-RQ."""

_FROM_ACCEPTORS = _FROM_REQUESTORS | {ASSOCIATE_AC, ASSOCIATE_RJ}
_DRAIN_BYTES = 65536


class UpperLayer(BaseUpperLayer):
    """One association's Upper Layer. `request` is the A-ASSOCIATE-RQ of an acceptor, which was read and checked before.

    A PDU must be complete, and one of ours written, within `seconds`. `notify` is called when there is something for
    the association's own thread. `problem` is what the peer did wrong. `take_data` takes each P-DATA-TF; where it is
    None, and where an application follows the PDUs by pynetdicom's events, pynetdicom decodes them.
    """

    def __init__(
        self, association: Association, seconds: float, notify: Callable[[], None], request: bytes | None = None
    ) -> None:
        super().__init__(association)
        self.name = "upper-layer"
        self.problem: PDUError | None = None
        self.ended = threading.Event()
        self.proposed: Mapping[int, Proposal] = {}
        self.take_data: Callable[[memoryview], None] | None = None
        self._seconds = seconds
        self._notify = notify
        self._request = request
        expected = _FROM_REQUESTORS if association.is_acceptor else _FROM_ACCEPTORS
        self._reader = PDUReader(maximum_data=MAXIMUM_PDU, seconds=seconds, expected=expected)
        self._drained_by: float | None = None
        self._waking = threading.Lock()
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.to_provider_queue: Outgoing = Outgoing(self.wake, self.ended)
        self.to_user_queue = NotifyingQueue(notify)

    def wake(self) -> None:
        """Have the thread look what there is to do."""
        with self._waking:
            if self._alarm >= 0:
                os.eventfd_write(self._alarm, 1)

    def refuse(self, problem: PDUError) -> None:
        """End the association by an A-ABORT, because of what the peer sent. Called in the thread."""
        self._note(problem)
        self.event_queue.put(INVALID_PDU)

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self.wake()

    def stop_dul(self) -> bool:
        """End the thread if the connection is closed already, and return whether it was."""
        if self.state_machine.current_state != IDLE:
            return False
        self.kill_dul()
        if self.is_alive():
            self.join()
        return True

    def abandon(self) -> None:
        """End the thread and the connection whatever state they are in. Harmless to repeat."""
        self.request_stop()
        self.wake()
        connection = self.connection()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self.is_alive():
            self.join(self._seconds)
        self._finish()

    # -- the thread -------------------------------------------------------------------------------------------

    def run_reactor(self) -> None:
        """Serve the association until its connection is closed."""
        self.mark_ready()
        if is_watched(self.assoc):
            self.take_data = None
        try:
            while not self.is_stopping:
                if not self._turn():
                    self._wait()
        except Exception as error:
            log.error("An association is aborted after an unexpected error (%s: %s).", type(error).__name__, error)
            log.debug("The error was:", exc_info=True)
            self._write(abort())
            self.report_abort()
        finally:
            self._finish()

    def _turn(self) -> bool:
        """Do one thing, and return whether there was something to do."""
        if self.artim_timer.expired:
            self.event_queue.put(ARTIM_EXPIRED)
        is_busy = self._send_file()
        if (is_busy or not self.queue_primitive()) and self._receive():
            self.idle_timer.restart()
            is_busy = True
        try:
            event = self.event_queue.get_nowait()
        except queue.Empty:
            return is_busy
        if self.has_transition(event):
            self.state_machine.do_action(event)
        elif event not in (CONNECTION_CLOSED, INVALID_PDU, ARTIM_EXPIRED):
            # A primitive that came too late, such as an answer in an association that was aborted meanwhile.
            with contextlib.suppress(queue.Empty):
                late = self.to_provider_queue.get_nowait()
                if isinstance(late, FileData):
                    late.settle()
        return True

    def _send_file(self) -> bool:
        """Send some PDUs of a Data Set that is in a file, and return whether that is what comes next."""
        data = self.to_provider_queue.first()
        if not isinstance(data, FileData) or not self.has_transition(DATA_REQUESTED):
            return False
        failure: OSError | None = None
        try:
            for _ in range(_PDUS_AT_A_TIME):
                pdu = data.next_pdu()
                if pdu is None:
                    break
                if not self._write(pdu):
                    self.event_queue.put(CONNECTION_CLOSED)
                    break
            else:
                return True
        except OSError as error:
            # The message cannot be completed, and nothing else may be sent before its end.
            failure = error
            self.event_queue.put(INVALID_PDU)
        self.to_provider_queue.get_nowait()
        data.settle(failure)
        return True

    def _wait(self) -> None:
        """Sleep until there is something to do."""
        now = time.monotonic()
        deadlines = [60.0, max(self.artim_timer.remaining, 0.05)]
        deadlines += [deadline - now for deadline in (self._reader.deadline, self._drained_by) if deadline is not None]
        poll = select.poll()
        poll.register(self._alarm, select.POLLIN)
        connection = self.connection()
        if connection is not None:
            pending = getattr(connection, "pending", None)
            if pending is not None and pending():
                return
            poll.register(connection, select.POLLIN)
        poll.poll(max(0.0, min(deadlines)) * 1000 + 1)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._alarm)

    def _receive(self) -> bool:
        """Read what is there, and return whether that was a whole PDU, or the end."""
        request, self._request = self._request, None
        if request is not None:
            self._accept(PDU(request[0], request))
            return True
        connection = self.connection()
        if connection is None:
            return False
        if self.state_machine.current_state == AWAITING_CLOSE:
            return self._drain(connection)
        try:
            pdu = self._read_pdu(connection)
            if pdu is None:
                self.event_queue.put(CONNECTION_CLOSED)
            else:
                self._accept(pdu)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return self._is_late()
        except PDUError as problem:
            self.refuse(problem)
        except (OSError, ValueError):  # the socket remembers the reason; ValueError: it was closed meanwhile
            self.event_queue.put(CONNECTION_CLOSED)
        return True

    def _read_pdu(self, connection: socket.socket) -> PDU | DataPDU | None:
        """Read the next PDU; None at the end of the connection. Raises what `PDUReader` and the connection raise."""
        pdu = self._reader.next()
        if pdu is None:
            connection.settimeout(0)
        while pdu is None:
            count = connection.recv_into(self._reader.space())
            if not count:
                return None
            self._reader.add(count)
            pdu = self._reader.next()
        return pdu

    def _accept(self, pdu: PDU | DataPDU) -> None:
        if isinstance(pdu, DataPDU):
            if self.take_data is not None and self.state_machine.current_state == ESTABLISHED:
                self.take_data(pdu.data)
                return
            pdu = PDU(P_DATA_TF, bytes(pdu.data))
        data = pdu.data if pdu.type == ASSOCIATE_RQ else read_answer(pdu, self.proposed)
        try:
            self.decode(data)
        except Exception as error:  # a foreign parser on bytes from the network
            raise PDUError(f"an {pdu.name} that cannot be decoded ({type(error).__name__})") from error

    def _is_late(self) -> bool:
        try:
            self._reader.check_deadline()
        except PDUError as problem:
            self.refuse(problem)
            return True
        return False

    def _drain(self, connection: socket.socket) -> bool:
        """Read until the peer closes, after our last PDU, so that closing does not destroy what it has yet to read."""
        try:
            if self._drained_by is None:
                self._drained_by = time.monotonic() + LINGER_SECONDS
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0)
            while time.monotonic() < self._drained_by:
                if not connection.recv(_DRAIN_BYTES):
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except (OSError, ValueError):
            pass
        if self.socket is not None:
            self.socket.close()
        return True

    def write_pdu(self, pdu: Any) -> None:
        """Send a PDU that the state machine made."""
        if self._write(pdu.encode()):
            self.report_sent(pdu)
        else:
            self.event_queue.put(CONNECTION_CLOSED)

    def _write(self, data: bytes | memoryview) -> bool:
        """Write one PDU within the time, and return whether the connection took it."""
        connection = self.connection()
        if connection is None:
            return False
        try:
            connection.settimeout(self._seconds)
            connection.sendall(data)
        except (OSError, ValueError):
            return False
        return True

    def _note(self, problem: PDUError) -> None:
        self.problem = self.problem or problem
        connection = self.connection()
        if connection is not None and getattr(connection, "failure", None) is None:
            connection.failure = problem

    def _finish(self) -> None:
        """Close what is open, and wake threads that wait for this one."""
        self.request_stop()
        self.ended.set()
        transport = self.socket
        if transport is not None:
            connection = transport.socket
            transport.close()
            if connection is not None:
                connection.close()  # pynetdicom leaves it open where it could not be shut down
        with self._waking:
            alarm, self._alarm = self._alarm, -1
            if alarm >= 0:
                os.close(alarm)
        self._notify()


class NotifyingQueue(queue.Queue[Any]):
    """A queue that calls a function when something was put into it."""

    def __init__(self, notify: Callable[[], None]) -> None:
        super().__init__()
        self._notify = notify

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._notify()


class Outgoing(queue.Queue[Any]):
    """Primitives on their way to the peer. A full queue holds up the sender until there is room, or no connection."""

    def __init__(self, wake: Callable[[], None], ended: threading.Event) -> None:
        super().__init__(OUTGOING)
        self._wake = wake
        self._ended = ended

    def first(self) -> Any:
        """Return the primitive that comes next, and leave it in the queue; None if there is none."""
        with self.mutex:
            return self.queue[0] if self.queue else None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        while not self._ended.is_set():
            try:
                super().put(item, timeout=0.5)
            except queue.Full:
                continue
            self._wake()
            return
