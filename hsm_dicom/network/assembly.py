"""Make the transport of a listener or to a peer from settings, identities and trust."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from hsm_dicom.identity import Identity
from hsm_dicom.iscl import ISCLContext, ISCLHooks
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import ISCLExemption, ListenerSettings, Peer
from hsm_dicom.tls import client_context, server_context
from hsm_dicom.tls.errors import ContextError, LegacyRefusedError
from hsm_dicom.tls.hosts import ascii_host
from hsm_dicom.transport.iscl import ISCLTransport
from hsm_dicom.transport.iscl_keys import ISCLKeys
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.transport.sockets import READ_SECONDS
from hsm_dicom.transport.succession import Side, SuccessionTransport
from hsm_dicom.transport.tls import TLSTransport
from hsm_dicom.trust import CertificateValidator


def make_listener_transport(
    settings: ListenerSettings,
    identities: Sequence[Identity],
    validator: CertificateValidator | None,
    keys: ISCLKeys | None = None,
) -> SecureTransport:
    """Make the transport of a listener: TLS, a retired TLS profile, or ISCL, which needs `keys`.

    Raises `TLSError`s, and `ISCLSettingsError` for keys that must not be used together.
    """
    if settings.iscl is None:
        return _make_listener_tls(settings, identities, validator)
    outer = _make_listener_tls(settings, identities, validator) if settings.iscl.over_tls else None
    return _make_iscl(settings.iscl, keys, outer, settings.limits.read_seconds)


def make_peer_transport(
    peer: Peer,
    identity: Identity | None,
    validator: CertificateValidator,
    keys: ISCLKeys | None = None,
    hooks: ISCLHooks | None = None,
    *,
    successor: Identity | None = None,
) -> SecureTransport:
    """Make the transport to a peer. Raises as `make_listener_transport` does.

    A single name of the peer is checked in the handshake; several names, a subject or pins are checked right after it,
    before DICOM begins. A `successor` is shown first, and `identity` where the peer refuses it: with TLS alone, by a
    current profile.
    """
    if peer.iscl is None:
        own = _make_peer_tls(peer, identity, validator)
        if successor is None or identity is None or peer.legacy is not None:
            return own
        first = Side(successor, _make_peer_tls(peer, successor, validator))
        return SuccessionTransport(peer.name, peer.address, first, Side(identity, own))
    outer = _make_peer_tls(peer, identity, validator) if peer.iscl.over_tls else None
    return _make_iscl(peer.iscl, keys, outer, READ_SECONDS, hooks)


def _make_iscl(
    iscl: ISCLExemption,
    keys: ISCLKeys | None,
    outer: SecureTransport | None,
    read_seconds: float,
    hooks: ISCLHooks | None = None,
) -> SecureTransport:
    if keys is None:
        raise SettingsError("ISCL is enabled, and the device with its secret keys is not given.")
    context = ISCLContext(iscl.settings, keys.secrets, authentication=keys.authentication, hooks=hooks)
    return ISCLTransport(context, outer, keys, read_seconds=read_seconds)


def _make_listener_tls(
    settings: ListenerSettings, identities: Sequence[Identity], validator: CertificateValidator | None
) -> SecureTransport:
    transport: SecureTransport
    if settings.legacy is None:
        context = server_context(
            identities, validator, profile=settings.profile, authentication=settings.authentication
        )
        transport = TLSTransport(context, settings.profile, read_seconds=settings.limits.read_seconds)
    elif len(identities) == 1:
        transport = _load_retired_transport().make_server_transport(
            settings.legacy,
            identities[0],
            validator,
            authentication=settings.authentication,
            read_seconds=settings.limits.read_seconds,
        )
    else:
        raise ContextError(f"The listener '{settings.name}' needs exactly one identity for its retired profile.")
    return transport


def _make_peer_tls(peer: Peer, identity: Identity | None, validator: CertificateValidator) -> SecureTransport:
    names = peer.match.names
    one_name = len(names) == 1
    named = names[0] if one_name else peer.host
    server_name = None if named is None else ascii_host(named)
    transport: SecureTransport
    if peer.legacy is None:
        context = client_context(
            identity, validator, profile=peer.profile, authentication=peer.authentication, check_hostname=one_name
        )
        transport = TLSTransport(context, peer.profile, server_name=server_name)
    else:
        transport = _load_retired_transport().make_client_transport(
            peer.legacy,
            identity,
            validator,
            authentication=peer.authentication,
            server_name=server_name,
            must_hold_name=one_name,
        )
    return transport


def _load_retired_transport() -> ModuleType:
    """Import the transport of retired profiles. It needs tlslite-ng, so it is imported only if one is enabled."""
    try:
        from hsm_dicom.transport import legacy_tls as legacy_tls
    except ModuleNotFoundError as error:
        raise LegacyRefusedError(
            "Retired TLS profiles need the Python package tlslite-ng, which is not installed. Install it: "
            f"{sys.prefix}/bin/pip install 'tlslite-ng>=0.8.2,<0.9'"
        ) from error
    return legacy_tls
