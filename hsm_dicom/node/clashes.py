"""Clashes in the plan: listeners and peers that are sound alone and cannot work together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.tls import AuthenticationMode

_EVERY_ADDRESS = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104  compared with, never bound


def find_shared_ports(listeners: Sequence[ListenerSettings], problems: ProblemCollector) -> None:
    """Report two listeners with one address and port."""
    for first, second in combinations(listeners, 2):
        hosts = {first.host, second.host}
        if first.port == second.port and (len(hosts) == 1 or hosts & _EVERY_ADDRESS):
            what = f"The listener '{first.name}' already uses port {second.port}."
            problems.add(("listeners", second.name, "port"), what, "Give each listener a port of its own.")


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


def _are_identified_alike(listener: ListenerSettings, first: Peer, second: Peer) -> bool:
    by_certificate = listener.iscl is None or listener.iscl.over_tls
    if by_certificate and listener.authentication is AuthenticationMode.MUTUAL and first.match != second.match:
        return False
    return listener.iscl is None or first.iscl_entity == second.iscl_entity
