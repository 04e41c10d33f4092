"""What the tables of the network say that cannot work together, though each table alone is sound."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from cryptography import x509

from hsm_dicom.config import Configuration
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.tls import Authentication

Clash = tuple[KeyPath, str, str]
"""The place in the file, what is wrong, and the remedy."""

_EVERY_ADDRESS = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104  compared with, never bound


def find_bad_subjects(configuration: Configuration) -> Iterator[Clash]:
    """Find subjects of peers that are no names (RFC 4514), so that no certificate can have them."""
    for name, peer in configuration.peers.items():
        if peer.subject is None:
            continue
        try:
            x509.Name.from_rfc4514_string(peer.subject)
        except ValueError:
            what = f"The subject '{peer.subject}' is not a name as RFC 4514 writes it."
            yield ("peers", name, "subject"), what, 'Write it like subject = "CN=PACS,O=Hospital".'


def find_bad_stores(configuration: Configuration) -> Iterator[Clash]:
    """Find folders for received instances that are files."""
    for name, section in configuration.listeners.items():
        if section.store is not None and section.store.exists() and not section.store.is_dir():
            remedy = "Name a folder; it is created if it does not exist."
            yield ("listeners", name, "store"), f"{section.store} is not a folder.", remedy


def find_shared_ports(listeners: list[ListenerSettings]) -> Iterator[Clash]:
    """Find two listeners that want one address and port."""
    for first, second in combinations(listeners, 2):
        hosts = {first.host, second.host}
        if first.port == second.port and (len(hosts) == 1 or hosts & _EVERY_ADDRESS):
            what = f"It wants port {second.port}, which the listener '{first.name}' has already."
            yield ("listeners", second.name, "port"), what, "Give each listener a port of its own."


def find_peers_alike(listeners: list[ListenerSettings]) -> Iterator[Clash]:
    """Find callers of one listener that share an AE title and are recognised by the same facts."""
    reported = set()
    for listener in listeners:
        for first, second in combinations(listener.peers, 2):
            shared = sorted(set(first.ae_titles) & set(second.ae_titles))
            pair = (first.name, second.name)
            if not shared or pair in reported or not _recognised_alike(listener, first, second):
                continue
            reported.add(pair)
            what = f"It cannot be told apart from peer '{first.name}': both use the AE title {shared[0]}, "
            what += "and nothing else distinguishes them."
            remedy = "Remove one of the two, or give each its own AE title, or names, subject or pins."
            yield ("peers", second.name), what, remedy


def _recognised_alike(listener: ListenerSettings, first: Peer, second: Peer) -> bool:
    by_certificate = listener.iscl is None or listener.iscl.over_tls
    if by_certificate and listener.authentication is Authentication.MUTUAL and first.match != second.match:
        return False
    return listener.iscl is None or first.known_as == second.known_as
