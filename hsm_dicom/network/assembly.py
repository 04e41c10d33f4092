"""From settings, identities and trust to a transport."""

from __future__ import annotations

from collections.abc import Sequence

from hsm_dicom.identity import Identity
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.network.tls_transport import TLSTransport
from hsm_dicom.network.transport import SecureTransport
from hsm_dicom.tls import client_context, server_context
from hsm_dicom.trust import Verifier


def accepting(settings: ListenerSettings, identities: Sequence[Identity], verifier: Verifier | None) -> SecureTransport:
    """The transport of a listener. Raises `ContextError`."""
    context = server_context(identities, verifier, profile=settings.profile, authentication=settings.authentication)
    return TLSTransport(context, settings.profile, read_seconds=settings.limits.read_seconds)


def connecting(peer: Peer, identity: Identity | None, verifier: Verifier) -> SecureTransport:
    """The transport to a peer. Raises `ContextError`.

    A peer that is known by one name has it checked in the handshake; more names, a subject or pins are checked right
    after it, before DICOM begins.
    """
    names = peer.match.names
    context = client_context(
        identity,
        verifier,
        profile=peer.profile,
        authentication=peer.authentication,
        check_hostname=len(names) == 1,
    )
    return TLSTransport(context, peer.profile, server_name=names[0] if len(names) == 1 else peer.host)
