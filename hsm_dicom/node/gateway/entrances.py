"""Where callers arrive: addresses and sockets for plain devices, and secured listeners for peers.

Each has one listener, whatever number of routes it serves. A secured listener also answers for its own AE title, as
`hsm-dicom listen` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from hsm_dicom.gateway.entrance import Entrance
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.settings import RouteSettings
from hsm_dicom.gateway.status import ListenerStatus
from hsm_dicom.network.acceptor import Acceptor
from hsm_dicom.network.addresses import Address, format_address
from hsm_dicom.network.errors import ListenError
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.settings import Limits, ListenerSettings
from hsm_dicom.node.gateway.opening import OpenedGateway
from hsm_dicom.node.opening import OpenedListener
from hsm_dicom.node.service import make_acceptor
from hsm_dicom.node.systemd.sockets import PassedSockets
from hsm_dicom.transport.plain import PlainTransport

ANYWHERE: Address = ("", 0)


@dataclass(frozen=True)
class Place:
    """What distinguishes entrances. A place that changes needs a restart.

    `kind` is "listen", "socket" or "listener"; `name` is what the configuration calls it.
    """

    kind: str
    name: str
    address: Address = ANYWHERE
    ae_title: str = ""

    def __str__(self) -> str:
        if self.kind == "listener":
            return f"listener '{self.name}' on {format_address(self.address)} as {self.ae_title}"
        return f"{self.kind} {self.name}"


def find_place(settings: RouteSettings, listeners: Mapping[str, ListenerSettings]) -> Place:
    """Return where the callers of a route arrive."""
    if settings.listen is not None:
        return Place("listen", format_address(settings.listen), settings.listen)
    if settings.socket is not None:
        return Place("socket", settings.socket)
    found = listeners[settings.listener or ""]
    return Place("listener", found.name, (found.host, found.port), found.ae_title)


def find_places(opened: OpenedGateway) -> dict[Place, list[str]]:
    """Return the entrances of a gateway, each with the names of its routes."""
    listeners = {name: one.opened.settings for name, one in opened.listeners.items()}
    places: dict[Place, list[str]] = {}
    for name, route in opened.routes.items():
        places.setdefault(find_place(route.settings, listeners), []).append(name)
    return places


class Entrances:
    """The listeners of a gateway. They are bound when this is made, and accept connections when it is started."""

    def __init__(
        self,
        opened: OpenedGateway,
        routes: Mapping[str, Route],
        sockets: PassedSockets,
    ) -> None:
        """Bind every address. Raises `ListenError`."""
        self._entrances: dict[Place, Entrance] = {}
        self._listeners: dict[Place, Listener] = {}
        self._acceptors: list[Acceptor] = []
        self._own: dict[str, OpenedListener] = {}
        self._is_stopped = False
        with ExitStack() as undo:
            undo.callback(self.stop)
            for place, names in find_places(opened).items():
                self._open(place, opened, [routes[name] for name in names], sockets)
            sockets.check_all_taken([place.name for place in self._listeners if place.kind != "listen"])
            undo.pop_all()

    @property
    def addresses(self) -> dict[str, Address]:
        """The address of each listener, by its name."""
        return {listener.name: listener.address for listener in self._listeners.values()}

    @property
    def associations(self) -> int:
        """The associations that this node itself answers."""
        return sum(len(acceptor.associations) for acceptor in self._acceptors)

    @property
    def stop_seconds(self) -> float:
        """How long the associations that this node itself answers may go on."""
        return max((own.settings.limits.stop_seconds for own in self._own.values()), default=0.0)

    def status(self) -> tuple[ListenerStatus, ...]:
        """Return what has arrived at each listener since the start."""
        return tuple(self._list_listeners())

    def start(self) -> None:
        """Accept connections."""
        for listener in self._listeners.values():
            listener.start()

    def ping(self, seconds: float) -> bool:
        """Return whether every accept loop answers, each within `seconds`."""
        return not self._is_stopped and all(listener.ping(seconds) for listener in self._listeners.values())

    def check_unchanged(self, opened: OpenedGateway) -> None:
        """Raise `ListenError` if a gateway has other entrances, which only a restart can open."""
        now, wanted = set(self._listeners), set(find_places(opened))
        changes = [f"{place} is new" for place in sorted(wanted - now, key=str)]
        changes += [f"{place} is no longer there" for place in sorted(now - wanted, key=str)]
        if changes:
            raise ListenError(f"{'; '.join(changes)}.", remedy="Restart the gateway to change where it listens.")

    def replace(self, opened: OpenedGateway, routes: Mapping[str, Route]) -> None:
        """Use other routes, transports and peers for new connections. Raises nothing after `check_unchanged`."""
        for name, one in opened.listeners.items():
            self._own[name] = one.opened
        for place, names in find_places(opened).items():
            self._entrances[place].replace([routes[name] for name in names])
            if place.kind == "listener":
                self._listeners[place].transport = opened.listeners[place.name].transport

    def stop(self) -> None:
        """Stop accepting, and close connections without an association. Doing so twice is fine."""
        if not self._is_stopped:
            self._is_stopped = True
            run_at_once([listener.stop for listener in self._listeners.values()])

    def stop_acceptors(self) -> None:
        """End the associations that this node itself answers, as their listeners' `stop_seconds` says."""
        run_at_once([acceptor.stop for acceptor in self._acceptors])

    def abort_associations(self) -> None:
        """Abort the associations that this node itself answers, so that `stop_acceptors` does not wait for them."""
        for acceptor in self._acceptors:
            for association in acceptor.associations:
                association.abort(block=False)

    def _list_listeners(self) -> Iterator[ListenerStatus]:
        for place, listener in self._listeners.items():
            counts = listener.counts
            yield ListenerStatus(
                name=place.name,
                transport=listener.transport.name,
                routes=self._entrances[place].route_names,
                accepted=counts.accepted,
                identified=counts.identified,
                rejected=counts.rejected,
                left=counts.left,
                refused=dict(counts.reasons),
                last_refused=counts.last_refused,
            )

    def _open(
        self,
        place: Place,
        opened: OpenedGateway,
        routes: Sequence[Route],
        sockets: PassedSockets,
    ) -> None:
        bound = None if place.kind == "listen" else sockets.take(place.name)
        if place.kind == "socket" and bound is None:
            raise ListenError(
                f"systemd passed no socket '{place.name}'.",
                remedy=f"Write FileDescriptorName={place.name} in its socket unit, or listen = in the route.",
            )
        if place.kind == "listener":
            secured = opened.listeners[place.name]
            settings = secured.opened.settings
            self._own[place.name] = secured.opened
            acceptor = make_acceptor(
                settings,
                lambda: self._own[place.name].settings.peers,
                lambda: self._own[place.name].policy,
            )
            self._acceptors.append(acceptor)
            entrance = Entrance(place.name, routes, acceptor.begin)
            limits, transport = settings.limits, secured.transport
        else:
            entrance = Entrance(place.name, routes)
            limits = Limits(request_seconds=max(route.settings.request_seconds for route in routes))
            transport = PlainTransport()
        self._listeners[place] = Listener(place.name, place.address, transport, entrance.serve, limits, bound)
        self._entrances[place] = entrance


def run_at_once(jobs: Iterable[Callable[[], None]]) -> None:
    """Do several jobs that wait, each in a thread of its own, and wait for all of them."""
    threads = [threading.Thread(target=job, name="gateway-end") for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
