"""Which AE titles a certificate, or authentication data, may use: pure functions from facts and settings to a decision.

PS3.8, 9.3.4 has the words for a refusal: calling AE title not recognised, called AE title not recognised.
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
    """Why an association is rejected: PS3.8's codes, and the sentence for our own log. The peer gets only the codes."""

    text: str
    reason: int
    result: int = REJECTED_PERMANENT
    source: int = SOURCE_SERVICE_USER


UNKNOWN_VERSION = Refusal(
    "it does not offer version 1 of the protocol, the only one there is.", VERSION_NOT_SUPPORTED, source=SOURCE_ACSE
)


def refuse_without_place(facts: ConnectionFacts, associations: int) -> Refusal:
    """The refusal of a peer that may call, while as many associations run as are allowed."""
    return Refusal(
        f"{facts.who} finds no place: {associations} associations run already; raise associations = of the listener, "
        "or see why they last.",
        LOCAL_LIMIT_EXCEEDED,
        REJECTED_TRANSIENT,
        SOURCE_PRESENTATION,
    )


def matches(demanded: CertificateMatch, shown: PeerCertificate) -> bool:
    """Whether a certificate has everything that is demanded of it."""
    if demanded.names and not any(shown.is_for(name) for name in demanded.names):
        return False
    if demanded.subject is not None and not _same_name(demanded.subject, shown.certificate.subject):
        return False
    return not demanded.pins or shown.spki_sha256 in demanded.pins


def check_caller(
    facts: ConnectionFacts, calling: str, called: str, own_ae_title: str, peers: Sequence[Peer]
) -> Refusal | None:
    """Whether who holds a certificate, or an ISCL key, may call us by this AE title, under our AE title; None if so.

    After one-way authentication there is nothing but the AE title to go by: it must be one that some peer has.
    """
    if called != own_ae_title:
        return Refusal(
            f"{facts.who} called AE title '{called}', and this is '{own_ae_title}'; correct one of them.",
            CALLED_NOT_RECOGNISED,
        )
    allowed = [peer for peer in peers if _is(peer, facts)]
    if any(calling in peer.ae_titles for peer in allowed):
        return None
    if not allowed:
        why = f"no peer of this listener {_lacking(facts)}"
    else:
        titles = ", ".join(f"'{title}'" for peer in allowed for title in peer.ae_titles)
        proof = "certificate is" if facts.certificate else "authentication data are"
        why = f"its {proof} that of peer '{allowed[0].name}', which may be {titles}"
    return Refusal(f"{facts.who} may not call itself '{calling}': {why}.", CALLING_NOT_RECOGNISED)


def check_called(facts: ConnectionFacts, peer: Peer) -> str | None:
    """Why the one who answered at a peer's address is not that peer, as a sentence; None if it is."""
    certificate = facts.certificate
    if facts.entity is not None and facts.entity != peer.iscl_entity:
        return f"'{facts.entity}' answered for peer '{peer.name}', which calls itself '{peer.iscl_entity}'."
    if certificate is None:
        return None if facts.entity is not None else f"{facts.who} answered for peer '{peer.name}'."
    if matches(peer.match, certificate):
        return None
    return (
        f"{facts.who} answered for peer '{peer.name}', and its certificate does not match what the peer is known by "
        f"({_described(peer.match)}); its key has the pin {certificate.spki_sha256}."
    )


def _is(peer: Peer, facts: ConnectionFacts) -> bool:
    """ISCL inside TLS proves both, and both must be right. A peer that speaks one is not known by the other."""
    if (facts.entity is None) != (peer.iscl is None):
        return False
    if facts.certificate is not None and not matches(peer.match, facts.certificate):
        return False
    return facts.entity is None or facts.entity == peer.iscl_entity


def _lacking(facts: ConnectionFacts) -> str:
    if facts.certificate is None:
        return f"has the authentication data '{facts.entity}'; add one, or correct its peer_authentication_data"
    also = f" and the authentication data '{facts.entity}'" if facts.entity else ""
    return f"has this certificate{also}; add one, or correct its host, subject or pin"


def _same_name(written: str, subject: x509.Name) -> bool:
    try:
        return x509.Name.from_rfc4514_string(written) == subject
    except ValueError:
        return False


def _described(match: CertificateMatch) -> str:
    parts = [f"name {' or '.join(match.names)}"] if match.names else []
    parts += [f"subject '{match.subject}'"] if match.subject else []
    parts += [f"{len(match.pins)} pins" if len(match.pins) > 1 else "a pin"] if match.pins else []
    return ", ".join(parts)
