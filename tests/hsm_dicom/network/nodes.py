"""A listening node for a test, and a peer's view of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.identity import Identity
from hsm_dicom.network.acceptor import Acceptor
from hsm_dicom.network.assembly import make_listener_transport, make_peer_transport
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.requestor import Timeouts
from hsm_dicom.network.settings import Limits, ListenerSettings, Peer
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.trust import CertificateValidator
from tests.hsm_dicom.tls.fixtures import Hospital

QUICK = Limits(
    yield_seconds=0.2, handshake_seconds=2.0, request_seconds=5.0, read_seconds=2.0, idle_seconds=10.0, stop_seconds=0.0
)
TIMEOUTS = Timeouts(connect=5, handshake=5, answer=5, idle=10)
CT1 = Peer(name="CT 1", ae_titles=("CT1",), host="127.0.0.1")


@dataclass
class Node:
    """A listener that runs, and everything that was told while it did."""

    listener: Listener
    acceptor: Acceptor
    told: list[Event]

    @property
    def port(self) -> int:
        return self.listener.address[1]

    def peer(self, **changes: Any) -> Peer:
        """The node, as another one has it in its settings."""
        node = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=self.port)
        return replace(node, **changes)

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.told if isinstance(event, kind)]

    def only(self, kind: type[Event]) -> Any:
        """The one event of a kind, which may come a little later than what the peer saw."""
        assert eventually(lambda: self.of(kind))
        (event,) = self.of(kind)
        return event

    def nth(self, kind: type[Event], number: int = 0) -> Any:
        """An event of a kind by its number, from 0, which may come a little later than what the peer saw."""
        assert eventually(lambda: len(self.of(kind)) > number)
        return self.of(kind)[number]


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether something becomes true before the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


@contextmanager
def node(
    hospital: Hospital,
    *,
    identities: Sequence[Identity] = (),
    validator: CertificateValidator | None = None,
    peers: Sequence[Peer] = (CT1,),
    handlers: Sequence[tuple[Any, ...]] = (),
    receiver: Receiver | None = None,
    transport: SecureTransport | None = None,
    transform: Callable[[ListenerSettings], ListenerSettings] = lambda settings: settings,
    limits: Limits = QUICK,
    **wishes: Any,
) -> Iterator[Node]:
    """A node with a token key that does C-ECHO and takes CT images."""
    settings = transform(
        ListenerSettings(name="main", ae_title="NODE", peers=tuple(peers), port=0, limits=limits, **wishes)
    )
    ae = AE(settings.ae_title)
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage)
    told: list[Event] = []
    acceptor = Acceptor(
        settings.name,
        ae,
        lambda: settings.peers,
        receiver.handlers if receiver else handlers,
        settings.limits,
        receiver.start_storing if receiver else None,
    )
    transport = transport or make_listener_transport(
        settings, identities or [hospital.rsa], validator or hospital.validator()
    )
    with (
        events.subscribe(told.append),
        Listener(settings.name, (settings.host, 0), transport, acceptor.begin, settings.limits) as listener,
    ):
        try:
            yield Node(listener, acceptor, told)
        finally:
            acceptor.stop()


def transport_to(peer: Peer, hospital: Hospital, identity: Identity | None = None) -> SecureTransport:
    """How a peer of the node reaches it."""
    return make_peer_transport(peer, identity or hospital.peer("CT 1"), hospital.validator())
