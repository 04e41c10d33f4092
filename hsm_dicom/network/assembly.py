"""From settings, identities and trust to a transport."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from hsm_dicom.identity import Identity
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.network.tls_transport import TLSTransport
from hsm_dicom.network.transport import SecureTransport
from hsm_dicom.tls import ContextError, LegacyRefused, client_context, server_context
from hsm_dicom.trust import Verifier


def accepting(settings: ListenerSettings, identities: Sequence[Identity], verifier: Verifier | None) -> SecureTransport:
    """The transport of a listener: of its profile, or of its legacy opening alone. Raises `TLSError`s."""
    transport: SecureTransport
    if settings.legacy is None:
        context = server_context(identities, verifier, profile=settings.profile, authentication=settings.authentication)
        transport = TLSTransport(context, settings.profile, read_seconds=settings.limits.read_seconds)
    elif len(identities) == 1:
        transport = _retired().accepting(
            settings.legacy,
            identities[0],
            verifier,
            authentication=settings.authentication,
            read_seconds=settings.limits.read_seconds,
        )
    else:
        raise ContextError(f"The listener '{settings.name}' needs one identity for its retired profile, and only one.")
    return transport


def connecting(peer: Peer, identity: Identity | None, verifier: Verifier) -> SecureTransport:
    """The transport to a peer. Raises `TLSError`s.

    A peer that is known by one name has it checked in the handshake; more names, a subject or pins are checked right
    after it, before DICOM begins.
    """
    names = peer.match.names
    one_name = len(names) == 1
    server_name = names[0] if one_name else peer.host
    transport: SecureTransport
    if peer.legacy is None:
        context = client_context(
            identity, verifier, profile=peer.profile, authentication=peer.authentication, check_hostname=one_name
        )
        transport = TLSTransport(context, peer.profile, server_name=server_name)
    else:
        transport = _retired().connecting(
            peer.legacy,
            identity,
            verifier,
            authentication=peer.authentication,
            server_name=server_name,
            must_hold_name=one_name,
        )
    return transport


def _retired() -> ModuleType:
    """The transport of retired profiles, which needs tlslite-ng: loaded only by who opens one."""
    try:
        from hsm_dicom.network import legacy_transport
    except ModuleNotFoundError as error:
        raise LegacyRefused(
            "Retired TLS profiles need tlslite-ng, which is not installed; run: pip install 'hsm-dicom[legacy-tls]'"
        ) from error
    return legacy_transport
