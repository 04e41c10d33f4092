"""Clashes in the plan: addresses and peers that are sound alone and cannot work together. See also `route_clashes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from hsm_dicom.config.lines import KeyPath
from hsm_dicom.gateway.settings import RouteSettings, StatusSettings
from hsm_dicom.network.addresses import can_bind, has_address, normalise_host
from hsm_dicom.network.settings import LOOPBACK, ListenerSettings, Peer
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.tls import AuthenticationMode

_EVERY_ADDRESS = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104  compared with, never bound


class Entrance(NamedTuple):
    """An address that is listened on: by whom, for messages, and the key of the file where it is written."""

    who: str
    place: KeyPath
    host: str
    port: int


def list_entrances(
    listeners: Sequence[ListenerSettings], routes: Sequence[RouteSettings], status: StatusSettings | None
) -> Iterator[Entrance]:
    """Yield the addresses of a node. Routes with the same address share it, so that only the first one is there."""
    for listener in listeners:
        place = ("listeners", listener.name, "port")
        yield Entrance(f"The listener '{listener.name}'", place, listener.host, listener.port)
    shared = {route.listen: route.name for route in reversed(routes) if route.listen is not None}
    for (host, port), name in reversed(shared.items()):
        yield Entrance(f"The route '{name}'", ("routes", name, "listen"), host, port)
    if status is not None and status.listen is not None:
        yield Entrance("The status page", ("status", "listen"), *status.listen)


def find_shared_ports(entrances: Iterable[Entrance], problems: ProblemCollector) -> None:
    """Report two entrances with one port, and one address or every address."""
    for first, second in combinations(entrances, 2):
        hosts = {_unify_host(first.host), _unify_host(second.host)}
        if first.port == second.port and (len(hosts) == 1 or hosts & _EVERY_ADDRESS):
            kinds = {first.place[0], second.place[0]}
            remedy = {
                frozenset(("listeners",)): "Give each listener a port of its own.",
                frozenset(("routes",)): "Give both routes the same listen, or each a port of its own.",
            }.get(frozenset(kinds), "Give each a port of its own.")
            problems.add(second.place, f"{first.who} already uses port {second.port}.", remedy)


def find_missing_addresses(plan: NodePlan, problems: ProblemCollector) -> None:
    """Report addresses that no interface of this machine has; one may get them later, at boot or on a standby node."""
    listeners = [listener.settings for listener in plan.listeners.values()]
    routes = [route.settings for route in plan.routes.values()]
    for entrance in list_entrances(listeners, routes, plan.gateway.status):
        place = (*entrance.place[:-1], "host") if entrance.place[0] == "listeners" else entrance.place
        if not has_address(entrance.host):
            what = f"The name {entrance.host} has no address now."
            problems.warn(place, what, "Correct it, write an address, or add the name to the DNS or to /etc/hosts.")
        elif not can_bind(entrance.host):
            what = f"No interface of this machine has the address {entrance.host} now."
            problems.warn(place, what, "Correct it, unless an interface gets it later.")


def _unify_host(host: str) -> str:
    return LOOPBACK if host == "localhost" else normalise_host(host)


def find_peers_alike(listeners: Sequence[ListenerSettings], problems: ProblemCollector) -> None:
    """Report callers of one listener that share an AE title and are identified by the same facts."""
    for listener in listeners:
        for first, second in combinations(listener.peers, 2):
            shared = sorted(set(first.ae_titles) & set(second.ae_titles))
            if shared and _are_identified_alike(listener, first, second):
                what = f"It cannot be distinguished from peer '{first.name}': both use the AE title {shared[0]}, "
                what += "and nothing else distinguishes them."
                remedy = "Remove one of the two, or give each its own AE title, or names, subject or pins."
                problems.add(("peers", second.name), what, remedy)


def find_peers_written_twice(
    peers: Iterable[Peer], listeners: Sequence[ListenerSettings], problems: ProblemCollector
) -> None:
    """Warn of peers with no listener in common that are alike as callers and as called: by every fact they have."""
    together = {pair for one in listeners for pair in combinations(sorted(peer.name for peer in one.peers), 2)}
    for first, second in combinations(peers, 2):
        shared = sorted(set(first.ae_titles) & set(second.ae_titles))
        if not shared or tuple(sorted((first.name, second.name))) in together:
            continue
        if _list_facts(first) == _list_facts(second):
            what = f"It cannot be distinguished from peer '{first.name}': both use the AE title {shared[0]}, at one "
            what += "address, and nothing else distinguishes them."
            problems.warn(("peers", second.name), what, "Remove one of the two, or correct what should differ.")


def _list_facts(peer: Peer) -> tuple[object, ...]:
    iscl = None if peer.iscl is None else (peer.iscl_entity, peer.iscl.over_tls)
    return peer.host, peer.port, peer.match, iscl, peer.legacy


def _are_identified_alike(listener: ListenerSettings, first: Peer, second: Peer) -> bool:
    by_certificate = listener.iscl is None or listener.iscl.over_tls
    if by_certificate and listener.authentication is AuthenticationMode.MUTUAL and first.match != second.match:
        return False
    return listener.iscl is None or first.iscl_entity == second.iscl_entity
