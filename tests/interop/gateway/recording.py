"""A TCP proxy that records the associations between two programs, PDU by PDU in the order in which they passed."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from hsm_dicom.gateway.tap import AcceptedContext, Direction
from hsm_dicom.network.upper_layer.pdu import P_DATA_TF, PDUReader, presentation_data_values
from tests.hsm_dicom.gateway.inspect.conversations import Value

_LONGEST = 1 << 20


@dataclass
class Conversation:
    """One association: `pdus` that passed, and `ended` when both ends have closed."""

    pdus: list[tuple[Direction, bytes]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def contexts(self) -> dict[int, AcceptedContext]:
        """The presentation contexts that were accepted."""
        request, answer = A_ASSOCIATE_RQ(), A_ASSOCIATE_AC()
        request.decode(self.pdus[0][1])
        answer.decode(self.pdus[1][1])
        abstract = {context.context_id: str(context.abstract_syntax) for context in request.presentation_context}
        return {
            context.context_id: AcceptedContext(abstract[context.context_id], str(context.transfer_syntax))
            for context in answer.presentation_context
            if context.result == 0
        }

    @property
    def values(self) -> list[Value]:
        """The Presentation Data Values that passed."""
        return [
            Value(direction, context_id, data[start], data[start + 1 : end])
            for direction, data in self.pdus
            if data[0] == P_DATA_TF
            for context_id, start, end in presentation_data_values(data)
        ]


class Recorder:
    """The proxy. `port` is where it accepts connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._conversations: list[Conversation] = []
        self._start(self._accept)

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def conversations(self) -> list[Conversation]:
        """The associations so far, in the order in which they began. Waits for the end of each."""
        for conversation in self._conversations:
            assert conversation.ended.wait(10)
        return self._conversations

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except ConnectionRefusedError:
                    near.close()
                    continue
                conversation = Conversation()
                self._conversations.append(conversation)
                self._start(self._relay, near, far, conversation)

    def _relay(self, near: socket.socket, far: socket.socket, conversation: Conversation) -> None:
        with near, far:
            back = threading.Thread(target=self._copy, args=(far, near, Direction.BACK, conversation))
            back.start()
            self._copy(near, far, Direction.FORTH, conversation)
            back.join()
        conversation.ended.set()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, direction: Direction, conversation: Conversation) -> None:
        reader = PDUReader(maximum_data=_LONGEST, seconds=60.0)
        with contextlib.suppress(OSError):
            while data := source.recv(reader.wanted):
                pdu = reader.feed(data)
                if pdu is not None:
                    conversation.pdus.append((direction, pdu.data))
                    sink.sendall(pdu.data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def recording(target: int) -> Iterator[Recorder]:
    """A recorder of what passes to a port of this computer."""
    recorder = Recorder(target)
    try:
        yield recorder
    finally:
        recorder.close()
