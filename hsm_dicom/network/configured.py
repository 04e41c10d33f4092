"""From the tables of the configuration to peers, listeners and transports.

with reaching(configuration, "PACS") as (peer, transport, calling):
    result = echo(peer, transport, calling)

with Service(loader(file, "main")) as service: ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hsm_dicom.config import Configuration, read_configuration
from hsm_dicom.config.devices import NotConfigured
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.network_sections import LegacySection, ListenerSection, PeerSection
from hsm_dicom.errors import HsmDicomError
from hsm_dicom.identity import Identity, load_identity
from hsm_dicom.network.assembly import connecting
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.service import Loaded
from hsm_dicom.network.settings import CertificateMatch, Limits, ListenerSettings, Peer, StorageSettings
from hsm_dicom.network.transport import SecureTransport
from hsm_dicom.tls import DEFAULT, Authentication, Profile, profile_named
from hsm_dicom.tls.settings import LegacyOpening
from hsm_dicom.trust import Policy, RevocationPolicy, TrustStore, Verifier
from tokens.pin import PinSource


class Reaching(NamedTuple):
    """All that is needed to speak with a peer."""

    peer: Peer
    transport: SecureTransport
    calling_ae_title: str


def verifier(configuration: Configuration) -> Verifier:
    """Trust as `[trust]` has it, its files read now. Raises `TrustFileError`."""
    trust = configuration.trust
    store = TrustStore.from_files(
        trust.anchors, intermediates=trust.intermediates, crls=trust.crls, ocsp_responses=trust.ocsp_responses
    )
    return Verifier(store, Policy(revocation=RevocationPolicy(trust.revocation)))


def peer(configuration: Configuration, name: str) -> Peer:
    """The peer `[peers.NAME]`. Raises `NotConfigured`, and `SettingsError` or `TLSError` for what cannot work."""
    section = configuration.peers.get(name)
    if section is None:
        raise NotConfigured(f"There is no peer '{name}' in the configuration; there: {_listed(configuration.peers)}.")
    return _peer(name, section)


def listener(configuration: Configuration, name: str | None = None) -> ListenerSettings:
    """The listener `[listeners.NAME]`, or the only one there is. Raises as `peer` does."""
    name, section = _listener_section(configuration, name)
    return ListenerSettings(
        name=name,
        ae_title=section.ae_title,
        peers=_callers(configuration, name, section),
        host=section.host,
        port=section.port,
        profile=_profile(section.profile),
        authentication=Authentication(section.authentication),
        legacy=_opening(section.legacy),
        storage=StorageSettings(folder=section.store, check_signatures=section.check_signatures)
        if section.store
        else None,
        limits=Limits(associations=section.associations, handshake_seconds=section.handshake_seconds),
    )


@contextlib.contextmanager
def reaching(configuration: Configuration, name: str, *, pin: PinSource | None = None) -> Iterator[Reaching]:
    """A peer, the transport to it with our identity's token opened, and what we call ourselves."""
    found = peer(configuration, name)
    calling = _calling_ae_title(configuration, name)
    identity = None
    if found.authentication is Authentication.MUTUAL:
        identity = load_identity(configuration, _own_identity(configuration, name), pin=pin)
    with identity or contextlib.nullcontext():
        yield Reaching(found, connecting(found, identity, verifier(configuration)), calling)


def loader(file: Path, name: str | None = None, *, pin: PinSource | None = None) -> Callable[[], Loaded]:
    """What a service loads from: the configuration file, read anew each time, and everything that it names."""

    def load() -> Loaded:
        return load_listener(read_configuration(file).sound(), name, pin=pin)

    return load


def load_listener(configuration: Configuration, name: str | None = None, *, pin: PinSource | None = None) -> Loaded:
    """A listener with its identities' tokens opened."""
    settings = listener(configuration, name)
    section = configuration.listeners[settings.name]
    identities: list[Identity] = []
    try:
        for identity in section.identities:
            identities.append(load_identity(configuration, identity, pin=pin))
        judge = verifier(configuration) if configuration.trust.anchors else None
        return Loaded(settings, identities, judge)
    except BaseException:
        for opened in identities:
            opened.close()
        raise


def problems(configuration: Configuration) -> list[tuple[KeyPath, str, str]]:
    """What is wrong with the tables of the network beyond their form: place, what, remedy."""
    found: list[tuple[KeyPath, str, str]] = []

    def attempt(place: KeyPath, job: Callable[[], object]) -> None:
        try:
            job()
        except HsmDicomError as error:
            found.append((place, str(error), ""))

    for name, peer_section in configuration.peers.items():
        attempt(("peers", name), lambda name=name: peer(configuration, name))  # type: ignore[misc]
        if peer_section.identity is not None and peer_section.identity not in configuration.identities:
            found.append(_no_identity(("peers", name, "identity"), peer_section.identity, configuration))
    for name, section in configuration.listeners.items():
        attempt(("listeners", name), lambda name=name: listener(configuration, name))  # type: ignore[misc]
        for identity in section.identities:
            if identity not in configuration.identities:
                found.append(_no_identity(("listeners", name, "identities"), identity, configuration))
        if section.authentication == "mutual" and not configuration.trust.anchors:
            found.append(
                (
                    ("listeners", name),
                    "Callers must show a certificate, and no CA is trusted.",
                    'Write [trust] with anchors = ["ca.pem"].',
                )
            )
    attempt(("trust",), lambda: verifier(configuration))
    return found


def _no_identity(place: KeyPath, name: str, configuration: Configuration) -> tuple[KeyPath, str, str]:
    return (
        place,
        f"There is no [identities.{name}] in this file.",
        f"Write the table, or name one that is there: {_listed(configuration.identities)}.",
    )


def _peer(name: str, section: PeerSection) -> Peer:
    return Peer(
        name=name,
        ae_titles=section.ae_titles,
        host=section.host,
        port=section.port,
        certificate=CertificateMatch(names=section.names, subject=section.subject, pins=section.pins),
        profile=_profile(section.profile),
        authentication=Authentication(section.authentication),
        legacy=_opening(section.legacy),
    )


def _callers(configuration: Configuration, name: str, section: ListenerSection) -> tuple[Peer, ...]:
    """The peers that may call a listener. Retired and current profiles never share one."""
    retired = section.legacy is not None
    if section.peers is None:
        if retired:
            raise SettingsError(
                f"The listener '{name}' opens a retired profile; name the peers that need it: peers = [\"NAME\"]."
            )
        return tuple(_peer(n, s) for n, s in configuration.peers.items() if s.legacy is None)
    found = tuple(peer(configuration, one) for one in section.peers)
    for one in found:
        if one.legacy is not None and not retired:
            raise SettingsError(
                f"Peer '{one.name}' speaks a retired profile, and the listener '{name}' a current one; "
                "give it a listener of its own."
            )
    return found


def _listener_section(configuration: Configuration, name: str | None) -> tuple[str, ListenerSection]:
    listeners = configuration.listeners
    if name is None and len(listeners) == 1:
        return next(iter(listeners.items()))
    if name is None or name not in listeners:
        asked = f"no listener '{name}'" if name else "not one listener alone"
        raise NotConfigured(f"There is {asked} in the configuration; there: {_listed(listeners)}.")
    return name, listeners[name]


def _own_identity(configuration: Configuration, name: str) -> str:
    named = configuration.peers[name].identity
    if named is not None:
        return named
    if len(configuration.identities) == 1:
        return next(iter(configuration.identities))
    raise NotConfigured(
        f"Nothing says which identity is shown to peer '{name}'; write identity = in [peers.{name}]: "
        f"{_listed(configuration.identities)}."
    )


def _calling_ae_title(configuration: Configuration, name: str) -> str:
    named = configuration.peers[name].calling_ae_title
    if named is not None:
        return named
    titles = {section.ae_title for section in configuration.listeners.values()}
    if len(titles) == 1:
        return titles.pop()
    raise NotConfigured(
        f"Nothing says what we call ourselves towards peer '{name}'; write calling_ae_title = in [peers.{name}]."
    )


def _profile(name: str | None) -> Profile:
    return DEFAULT if name is None else profile_named(name)


def _opening(section: LegacySection | None) -> LegacyOpening | None:
    if section is None:
        return None
    from hsm_dicom.tls.legacy import profile_named as retired_profile_named

    retired_profile_named(section.profile)
    return LegacyOpening(profile=section.profile, reason=section.reason, until=section.until)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
