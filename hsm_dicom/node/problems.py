"""What is wrong with the tables of the network beyond their form, for check-config: all of it, and nothing raised.

Each problem is a place in the file, what is wrong, and the remedy, which may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from hsm_dicom.config import Configuration
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.network_sections import ListenerSection
from hsm_dicom.errors import DicomError
from hsm_dicom.network.settings import ListenerSettings
from hsm_dicom.node.clashes import find_bad_stores, find_bad_subjects, find_peers_alike, find_shared_ports
from hsm_dicom.node.configured import listed, listener, peer, verifier
from hsm_dicom.node.iscl_check import iscl_tables

NetworkProblem = tuple[KeyPath, str, str]


def problems(configuration: Configuration) -> list[NetworkProblem]:
    """What can be seen without a device."""
    return list(_problems(configuration))


def _problems(configuration: Configuration) -> Iterator[NetworkProblem]:
    told: set[str] = set()
    for name, section in configuration.peers.items():
        for problem in _failing(("peers", name), partial(peer, configuration, name)):
            told.add(problem[1])
            yield problem
        if section.identity is not None and section.identity not in configuration.identities:
            yield _no_identity(("peers", name, "identity"), section.identity, configuration)
    yield from find_bad_subjects(configuration)
    yield from find_bad_stores(configuration)
    sound: list[ListenerSettings] = []
    for name, accepting in configuration.listeners.items():
        for problem in _failing(("listeners", name), partial(_collect, sound, configuration, name)):
            # A listener fails with a peer that it serves; whose mistake it is was said.
            if problem[1] not in told:
                yield problem
        for identity in accepting.identities:
            if identity not in configuration.identities:
                yield _no_identity(("listeners", name, "identities"), identity, configuration)
        if _wants_certificates(configuration, accepting) and not configuration.trust.anchors:
            what = "Callers must show a certificate, and no CA is trusted."
            yield ("listeners", name), what, 'Write [trust] with anchors = ["ca.pem"].'
    yield from find_shared_ports(sound)
    yield from find_peers_alike(sound)
    for place, iscl in iscl_tables(configuration):
        if iscl.token is None:
            what = "Nothing says which token holds the secrets of ISCL."
            yield place, what, f"Write token = in [iscl], one of: {listed(configuration.tokens)}."
    yield from _failing(("trust",), partial(verifier, configuration))


def _collect(sound: list[ListenerSettings], configuration: Configuration, name: str) -> None:
    sound.append(listener(configuration, name))


def _failing(place: KeyPath, job: Callable[[], object]) -> Iterator[NetworkProblem]:
    try:
        job()
    except DicomError as error:
        yield place, str(error), ""


def _wants_certificates(configuration: Configuration, section: ListenerSection) -> bool:
    has_tls = section.iscl is None or section.iscl.within(configuration.iscl).over == "tls"
    return has_tls and section.authentication == "mutual"


def _no_identity(place: KeyPath, name: str, configuration: Configuration) -> NetworkProblem:
    what = f"There is no [identities.{name}] in this file."
    return place, what, f"Write the table, or name one that is there: {listed(configuration.identities)}."
