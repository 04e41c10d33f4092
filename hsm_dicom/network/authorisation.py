"""Decide which AE titles a certificate, or authentication data, may use. Pure functions of facts and settings.

The codes of a refusal are those of PS3.8, 9.3.4: calling or called AE title not recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from hsm_dicom.network.settings import CertificateMatch, Peer
from hsm_dicom.tls import PeerCertificate
from hsm_dicom.transport.port import ConnectionFacts

REJECTED_PERMANENT, REJECTED_TRANSIENT = 1, 2
SOURCE_SERVICE_USER, SOURCE_ACSE, SOURCE_PRESENTATION = 1, 2, 3
VERSION_NOT_SUPPORTED = LOCAL_LIMIT_EXCEEDED = 2
CALLING_NOT_RECOGNISED = 3
CALLED_NOT_RECOGNISED = 7


@dataclass(frozen=True)
class Refusal:
    """Why an association is rejected: the codes of PS3.8, which the peer gets, and the sentence for this node's log."""

    text: str
    reason: int
    result: int = REJECTED_PERMANENT
    source: int = SOURCE_SERVICE_USER


UNKNOWN_VERSION = Refusal(
    "it does not offer version 1 of the protocol, the only version.", VERSION_NOT_SUPPORTED, source=SOURCE_ACSE
)


def refuse_without_place(facts: ConnectionFacts, associations: int) -> Refusal:
    """Return the refusal of an authorised peer while the maximum of associations is open."""
    return Refusal(
        f"there is no place for {facts.who}: the listener's maximum of open associations ({associations}) is reached. "
        "Increase associations = of the listener, or find out why they stay open.",
        LOCAL_LIMIT_EXCEEDED,
        REJECTED_TRANSIENT,
        SOURCE_PRESENTATION,
    )


def matches(required: CertificateMatch, certificate: PeerCertificate) -> bool:
    """Return whether a certificate meets every requirement."""
    if required.names and not any(certificate.is_for(name) for name in required.names):
        return False
    if required.subject is not None and not _same_name(required.subject, certificate.certificate.subject):
        return False
    return not required.pins or certificate.spki_sha256 in required.pins


def check_caller(
    facts: ConnectionFacts, calling: str, called: str, own_ae_title: str, peers: Sequence[Peer]
) -> Refusal | None:
    """Return why a caller must be rejected; None if its certificate or ISCL key may use this calling AE title.

    After one-way authentication, callers are identified by the AE title alone: it must be one of some peer.
    """
    if called != own_ae_title:
        return Refusal(
            f"{facts.who} called the AE title '{called}', and this listener has '{own_ae_title}'. Correct one of them.",
            CALLED_NOT_RECOGNISED,
        )
    allowed = [peer for peer in peers if _is_caller(peer, facts)]
    if any(calling in peer.ae_titles for peer in allowed):
        return None
    if not allowed:
        why = f"no peer of this listener {_describe_missing(facts)}"
    else:
        titles = [f"'{title}'" for peer in allowed for title in peer.ae_titles]
        proof = "certificate belongs" if facts.certificate else "authentication data belong"
        only = f"AE title{'s' if len(titles) > 1 else ''} {', '.join(titles)}"
        why = f"the {proof} to peer '{allowed[0].name}', which may only use the {only}"
    return Refusal(f"{facts.who} may not use the AE title '{calling}': {why}.", CALLING_NOT_RECOGNISED)


def check_called(facts: ConnectionFacts, peer: Peer) -> str | None:
    """Return a sentence if another node than the peer answered at its address; None if it is the peer."""
    certificate = facts.certificate
    if facts.entity is not None and facts.entity != peer.iscl_entity:
        return f"'{facts.entity}' answered for peer '{peer.name}', whose authentication data are '{peer.iscl_entity}'."
    if certificate is None:
        return None if facts.entity is not None else f"{facts.who} answered for peer '{peer.name}'."
    if matches(peer.match, certificate):
        return None
    return (
        f"{facts.who} answered for peer '{peer.name}', and its certificate does not match that of the peer "
        f"({_describe_match(peer.match)}). Its key has the pin {certificate.spki_sha256}."
    )


def find_mismatch(peer: Peer, certificate: PeerCertificate) -> str | None:
    """Return a sentence if a server's certificate is not that of the peer; None if it is."""
    if matches(peer.match, certificate):
        return None
    what = _describe_match(peer.match)
    return f"Its certificate is not that of peer '{peer.name}' ({what}). Its key has the pin {certificate.spki_sha256}."


def _is_caller(peer: Peer, facts: ConnectionFacts) -> bool:
    """Return whether the facts identify a peer. ISCL inside TLS proves two facts, and both must match."""
    if (facts.entity is None) != (peer.iscl is None):
        return False
    if facts.certificate is not None and not matches(peer.match, facts.certificate):
        return False
    return facts.entity is None or facts.entity == peer.iscl_entity


def _describe_missing(facts: ConnectionFacts) -> str:
    if facts.certificate is None:
        return f"has the authentication data '{facts.entity}'. Add one, or correct its peer_authentication_data"
    also = f" and the authentication data '{facts.entity}'" if facts.entity else ""
    return f"has this certificate{also}. Add one, or correct its host, subject or pin"


def _same_name(written: str, subject: x509.Name) -> bool:
    return x509.Name.from_rfc4514_string(written) == subject


def _describe_match(match: CertificateMatch) -> str:
    parts = [f"name {' or '.join(match.names)}"] if match.names else []
    parts += [f"subject '{match.subject}'"] if match.subject else []
    parts += [f"{len(match.pins)} pins" if len(match.pins) > 1 else "a pin"] if match.pins else []
    return ", ".join(parts)
