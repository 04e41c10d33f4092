"""What is wrong with the tables of the network beyond their form, for check-config: all of it, and nothing raised.

Each problem is a place in the file, what is wrong, and the remedy, which may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from hsm_dicom.config import Configuration
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.network_sections import ListenerSection
from hsm_dicom.errors import HsmDicomError
from hsm_dicom.iscl import ISCLContext
from hsm_dicom.network.configured import listed, listener, peer, verifier
from hsm_dicom.network.iscl_configured import open_keys
from hsm_dicom.network.settings import ISCLOpening

NetworkProblem = tuple[KeyPath, str, str]


def problems(configuration: Configuration) -> list[NetworkProblem]:
    """What can be seen without a device."""
    return list(_problems(configuration))


def iscl_tables(configuration: Configuration) -> Iterator[tuple[KeyPath, ISCLSection]]:
    """Every peer's and listener's ISCL table, with what it takes from `[iscl]`."""
    for kind, tables in (("peers", configuration.peers), ("listeners", configuration.listeners)):
        for name, section in tables.items():
            if section.iscl is not None:
                yield (kind, name, "iscl"), section.iscl.within(configuration.iscl)


def try_iscl(configuration: Configuration, place: KeyPath) -> str:
    """Open the secrets of one ISCL table, see that they are there and differ, and say which they are.

    Raises `HsmDicomError`s and `TokenError`s.
    """
    kind, name, _ = place
    found = peer(configuration, name).iscl if kind == "peers" else listener(configuration, name).iscl
    own = (configuration.peers if kind == "peers" else configuration.listeners)[name].iscl
    if found is None or own is None:
        return ""
    keys = open_keys(configuration, own)
    try:
        ISCLContext(found.settings, keys.secrets, authentication=keys.authentication)
        return _described(found)
    finally:
        keys.close()


def _described(opening: ISCLOpening) -> str:
    settings = opening.settings
    indexes = {"authentication": settings.authentication_keys, "encryption": settings.encryption_keys}
    return ", ".join(f"{use} key {' and '.join(map(str, keys))}" for use, keys in indexes.items() if keys)


def _problems(configuration: Configuration) -> Iterator[NetworkProblem]:
    for name, section in configuration.peers.items():
        yield from _failing(("peers", name), partial(peer, configuration, name))
        if section.identity is not None and section.identity not in configuration.identities:
            yield _no_identity(("peers", name, "identity"), section.identity, configuration)
    for name, accepting in configuration.listeners.items():
        yield from _failing(("listeners", name), partial(listener, configuration, name))
        for identity in accepting.identities:
            if identity not in configuration.identities:
                yield _no_identity(("listeners", name, "identities"), identity, configuration)
        if _wants_certificates(configuration, accepting) and not configuration.trust.anchors:
            what = "Callers must show a certificate, and no CA is trusted."
            yield ("listeners", name), what, 'Write [trust] with anchors = ["ca.pem"].'
    for place, iscl in iscl_tables(configuration):
        if iscl.token is None:
            what = "Nothing says which token holds the secrets of ISCL."
            yield place, what, f"Write token = in [iscl], one of: {listed(configuration.tokens)}."
    yield from _failing(("trust",), partial(verifier, configuration))


def _failing(place: KeyPath, job: Callable[[], object]) -> Iterator[NetworkProblem]:
    try:
        job()
    except HsmDicomError as error:
        yield place, str(error), ""


def _wants_certificates(configuration: Configuration, section: ListenerSection) -> bool:
    has_tls = section.iscl is None or section.iscl.within(configuration.iscl).over == "tls"
    return has_tls and section.authentication == "mutual"


def _no_identity(place: KeyPath, name: str, configuration: Configuration) -> NetworkProblem:
    what = f"There is no [identities.{name}] in this file."
    return place, what, f"Write the table, or name one that is there: {listed(configuration.identities)}."
