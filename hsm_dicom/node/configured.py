"""From the tables of the configuration to peers, listeners and transports.

with reaching(configuration, "PACS") as (peer, transport, calling):
    result = echo(peer, transport, calling)

with Service(loader(file, "main")) as service: ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from hsm_dicom.config import Configuration, read_configuration
from hsm_dicom.config.devices import NotConfiguredError
from hsm_dicom.config.network_sections import LegacySection, ListenerSection, PeerSection
from hsm_dicom.identity import Identity, load_identity
from hsm_dicom.iscl import PORT as ISCL_PORT
from hsm_dicom.iscl import ISCLHooks
from hsm_dicom.iscl.entity import entity_name
from hsm_dicom.network.assembly import connecting
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import (
    DICOM_TLS_PORT,
    CertificateMatch,
    ISCLOpening,
    Limits,
    ListenerSettings,
    Peer,
    StorageSettings,
    uses_tls,
)
from hsm_dicom.network.storage.sop_classes import SopClasses
from hsm_dicom.node.iscl_configured import open_keys, opening
from hsm_dicom.node.service import Loaded
from hsm_dicom.tls import DEFAULT, Authentication, Profile, profile_named
from hsm_dicom.tls.settings import LegacyOpening
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.trust import Policy, RevocationPolicy, TrustStore, Verifier
from tokens.pins.sources import PinSource

PARTING_SECONDS = 3.0
"""How long a peer may take to answer the disconnection of ISCL before we go without."""


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
    """The peer `[peers.NAME]`. Raises `NotConfiguredError`, and `SettingsError` or `TLSError` for what cannot work."""
    section = configuration.peers.get(name)
    if section is None:
        raise NotConfiguredError(
            f"There is no peer '{name}' in the configuration; there: {listed(configuration.peers)}."
        )
    return _peer(configuration, name, section)


def listener(configuration: Configuration, name: str | None = None) -> ListenerSettings:
    """The listener `[listeners.NAME]`, or the only one there is. Raises as `peer` does."""
    name, section = _listener_section(configuration, name)
    iscl = opening(configuration, section.iscl, our_name=section.ae_title, their_name=None)
    if uses_tls(iscl) and not section.identities:
        raise SettingsError(f"The listener '{name}' has no certificate to show; write identities = [\"NAME\"].")
    return ListenerSettings(
        name=name,
        ae_title=section.ae_title,
        peers=_callers(configuration, name, section),
        host=section.host,
        port=_port(section.port, iscl),
        profile=_profile(section.profile),
        authentication=Authentication(section.authentication),
        legacy=_opening(section.legacy),
        iscl=iscl,
        storage=StorageSettings(
            folder=section.store,
            check_signatures=section.check_signatures,
            largest_object_mib=section.largest_object_mib,
            sop_classes=SopClasses.of(section.sop_classes),
        )
        if section.store
        else None,
        limits=Limits(**{limit.name: getattr(section, limit.name) for limit in fields(Limits)}),
    )


@contextlib.contextmanager
def reaching(
    configuration: Configuration, name: str, *, pin: PinSource | None = None, hooks: ISCLHooks | None = None
) -> Iterator[Reaching]:
    """A peer, the transport to it with our devices opened, and what we call ourselves. `hooks` are for ISCL."""
    found = peer(configuration, name)
    calling = _calling_ae_title(configuration, name)
    identity = keys = None
    with contextlib.ExitStack() as devices:
        if uses_tls(found.iscl) and found.authentication is Authentication.MUTUAL:
            identity = load_identity(_own_identity(configuration, name), configuration, pin=pin)
            devices.callback(identity.close)
        section = configuration.peers[name].iscl
        if section is not None:
            keys = open_keys(configuration, section, pin=pin)
            devices.callback(keys.close)
            devices.callback(keys.wait, PARTING_SECONDS)
        yield Reaching(found, connecting(found, identity, verifier(configuration), keys, hooks), calling)


def loader(file: Path, name: str | None = None, *, pin: PinSource | None = None) -> Callable[[], Loaded]:
    """What a service loads from: the configuration file, read anew each time, and everything that it names."""

    def load() -> Loaded:
        return load_listener(read_configuration(file).sound(), name, pin=pin)

    return load


def load_listener(configuration: Configuration, name: str | None = None, *, pin: PinSource | None = None) -> Loaded:
    """A listener with its devices opened."""
    settings = listener(configuration, name)
    section = configuration.listeners[settings.name]
    identities: list[Identity] = []
    with contextlib.ExitStack() as undo:
        for identity in section.identities if uses_tls(settings.iscl) else ():
            identities.append(load_identity(identity, configuration, pin=pin))
            undo.callback(identities[-1].close)
        keys = None
        if section.iscl is not None:
            keys = open_keys(configuration, section.iscl, pin=pin)
            undo.callback(keys.close)
        judge = verifier(configuration) if configuration.trust.anchors else None
        undo.pop_all()
    return Loaded(settings, identities, judge, keys)


def _peer(configuration: Configuration, name: str, section: PeerSection) -> Peer:
    their_name = section.ae_titles[0]
    iscl = opening(configuration, section.iscl, our_name=_our_name(configuration, section), their_name=their_name)
    told = iscl.settings.peer_authentication_data if iscl else None
    return Peer(
        name=name,
        ae_titles=section.ae_titles,
        host=section.host,
        port=_port(section.port, iscl),
        certificate=CertificateMatch(names=section.names, subject=section.subject, pins=section.pins),
        profile=_profile(section.profile),
        authentication=Authentication(section.authentication),
        legacy=_opening(section.legacy),
        iscl=iscl,
        entity=None if told is None else entity_name(told),
        answer_seconds=section.answer_seconds,
    )


def _port(written: int | None, iscl: ISCLOpening | None) -> int:
    return written or (DICOM_TLS_PORT if iscl is None else ISCL_PORT)


def _callers(configuration: Configuration, name: str, section: ListenerSection) -> tuple[Peer, ...]:
    """The peers that may call a listener. Retired profiles, current ones and ISCL never share one.

    A retired listener may serve peers that have a current profile too, since they have a certificate as well. One of
    ISCL asks for one key, and whoever has it can call itself as it likes: so no peer with a key of its own is among
    its peers.
    """
    retired = section.legacy is not None
    if section.peers is None and retired:
        raise SettingsError(
            f"The listener '{name}' opens a retired profile; name the peers that need it: peers = [\"NAME\"]."
        )
    spoken = "TLS" if retired else _spoken(configuration, section)
    proof = _proof(configuration, section)
    if section.peers is None:
        alike = [
            name
            for name, one in configuration.peers.items()
            if (_spoken(configuration, one), _proof(configuration, one)) == (spoken, proof)
        ]
        return tuple(peer(configuration, one) for one in alike)
    for one in section.peers:
        found = configuration.peers.get(one)
        theirs = spoken if found is None else _spoken(configuration, found)
        if theirs != spoken and not (retired and theirs == _RETIRED):
            raise SettingsError(
                f"Peer '{one}' speaks {theirs}, and the listener '{name}' {spoken}; give it a listener of its own."
            )
        if found is not None and _proof(configuration, found) != proof:
            raise SettingsError(
                f"Peer '{one}' has another authentication key than the one that the listener '{name}' asks for, and "
                "whoever has that one could call itself so; give it a listener of its own."
            )
    return tuple(peer(configuration, one) for one in section.peers)


_RETIRED = "a retired TLS profile"


def _spoken(configuration: Configuration, section: PeerSection | ListenerSection) -> str:
    """What tells transports apart that must not share a listener, in words."""
    if section.legacy is not None:
        return _RETIRED
    if section.iscl is None:
        return "TLS"
    over = section.iscl.within(configuration.iscl).over
    return "ISCL" if over is None else f"ISCL in {over.upper()}"


def _proof(configuration: Configuration, section: PeerSection | ListenerSection) -> tuple[object, ...]:
    """Which authentication keys ISCL asks for; nothing where there is no ISCL."""
    if section.iscl is None:
        return ()
    iscl = section.iscl.within(configuration.iscl)
    device = iscl.authentication_token or iscl.token
    return device, iscl.prefix, iscl.authentication_key, iscl.server_authentication_key


def _listener_section(configuration: Configuration, name: str | None) -> tuple[str, ListenerSection]:
    listeners = configuration.listeners
    if name is None and len(listeners) == 1:
        return next(iter(listeners.items()))
    if name is None or name not in listeners:
        asked = f"no listener '{name}'" if name else "not one listener alone"
        raise NotConfiguredError(f"There is {asked} in the configuration; there: {listed(listeners)}.")
    return name, listeners[name]


def _own_identity(configuration: Configuration, name: str) -> str:
    named = configuration.peers[name].identity
    if named is not None:
        return named
    if len(configuration.identities) == 1:
        return next(iter(configuration.identities))
    raise NotConfiguredError(
        f"Nothing says which identity is shown to peer '{name}'; write identity = in [peers.{name}]: "
        f"{listed(configuration.identities)}."
    )


def _calling_ae_title(configuration: Configuration, name: str) -> str:
    named = configuration.peers[name].calling_ae_title
    if named is not None:
        return named
    titles = {section.ae_title for section in configuration.listeners.values()}
    if len(titles) == 1:
        return titles.pop()
    raise NotConfiguredError(
        f"Nothing says what we call ourselves towards peer '{name}'; write calling_ae_title = in [peers.{name}]."
    )


def _our_name(configuration: Configuration, section: PeerSection) -> str:
    """What we call ourselves in ISCL towards a peer, unless its table says otherwise."""
    titles = {listener.ae_title for listener in configuration.listeners.values()}
    return section.calling_ae_title or (titles.pop() if len(titles) == 1 else "hsm-dicom")


def _profile(name: str | None) -> Profile:
    return DEFAULT if name is None else profile_named(name)


def _opening(section: LegacySection | None) -> LegacyOpening | None:
    if section is None:
        return None
    from hsm_dicom.tls.legacy import profile_named as retired_profile_named

    retired_profile_named(section.profile)
    return LegacyOpening(profile=section.profile, reason=section.reason, until=section.until, dh_bits=section.dh_bits)


def listed(names: Iterable[str]) -> str:
    """Names of the configuration, for a message."""
    return ", ".join(names) or "none"
