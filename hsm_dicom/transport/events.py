"""Events between this node and its peers.

Each event has a `text`, a sentence for people. Refusals and losses are warnings. No event contains a patient's name.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from hsm_dicom.events import DicomEvent
from hsm_dicom.transport.port import ConnectionFacts

log = logging.getLogger("hsm_dicom.network")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEvent(DicomEvent):
    """Base of these events: name of the configured listener or peer, address of the other end, and a sentence."""

    name: str
    address: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HandshakeSucceeded(NetworkEvent):
    """A handshake succeeded. `subject`, `serial`, `spki_sha256` describe the peer; empty if it did not authenticate.

    `group` is the group of the key exchange; empty where it is not known.
    """

    transport: str
    profile: str
    version: str
    suite: str
    subject: str
    serial: str
    spki_sha256: str
    resumed: bool
    group: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HandshakeFailed(NetworkEvent):
    """A handshake failed. `reason` is a `FailureReason`, `certificate_reason` a `hsm_dicom.trust.Reason` or empty."""

    level: ClassVar[int] = logging.WARNING
    reason: str
    certificate_reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuccessorRefused(NetworkEvent):
    """A peer refused the successor of an identity, with `next_in_tls = "auto"`, and is shown the old certificate again.

    Emitted once for each start or reload. `alert` is the peer's (RFC 8446, 6.2), `certificate_serial` that of the
    successor, in hexadecimal.
    """

    level: ClassVar[int] = logging.WARNING
    alert: str
    identity: str
    successor: str
    certificate_serial: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionRejected(NetworkEvent):
    """A connection was refused before an association, for a reason other than its handshake.

    `reason` is "too-many-connections", "request-timeout" (no association was requested in time) or "malformed-request"
    (the data does not conform to PS3.8).
    """

    level: ClassVar[int] = logging.WARNING
    subject: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationAccepted(NetworkEvent):
    """An association was accepted, by this node or by the peer."""

    calling_ae_title: str
    called_ae_title: str
    subject: str
    profile: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationRejected(NetworkEvent):
    """An association was rejected. `result`, `source` and `reason` are those of PS3.8, 9.3.4."""

    level: ClassVar[int] = logging.WARNING
    calling_ae_title: str
    called_ae_title: str
    subject: str
    result: int
    source: int
    reason: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationAborted(NetworkEvent):
    """An association ended before it was released: A-ABORT, A-P-ABORT, a lost connection, a failed integrity check."""

    level: ClassVar[int] = logging.WARNING
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificatesReloaded(NetworkEvent):
    """Certificates, trust and revocation data of a listener were reloaded, or could not be."""

    level: ClassVar[int] = logging.WARNING
    succeeded: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadinessChanged(NetworkEvent):
    """A listener cannot use a key, because its token does not return from a call; or it can use all of them again."""

    level: ClassVar[int] = logging.WARNING
    ready: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressMissing(NetworkEvent):
    """A listener has an address that no interface of this machine has now. It accepts connections when one gets it."""

    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidityWarning(NetworkEvent):
    """A listener's own certificate, trust anchor or CRL is out of date, or soon will be.

    `blocks_connections` is True if connections already fail because of it. Emitted at the start, after a reload, and
    when a date approaches.
    """

    level: ClassVar[int] = logging.WARNING
    blocks_connections: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EndApproaching(NetworkEvent):
    """What a listener or a gateway works with ends in `days` days or less: 60, 30, 14, 7, 1.

    `kind` is "identity", "chain", "anchor", "intermediate", "crl", "timestamp-anchor", "retired-profile" or
    "emergency", `item` the identity's name, the subject, the file or the table, and `ends` the end in RFC 3339; that of
    a CRL is its nextUpdate. Emitted once for each of these numbers, and at the start for the smallest that is reached.
    A number above half of the whole validity is left out.
    """

    level: ClassVar[int] = logging.WARNING
    kind: str
    item: str
    days: int
    ends: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyProfileUsed(NetworkEvent):
    """A retired profile was used, under an exception with this reason and end date (ISO 8601)."""

    level: ClassVar[int] = logging.WARNING
    profile: str
    reason: str
    until: str

    @property
    def repetition_key(self) -> Hashable:
        """Key that is equal for all connections of one peer address under the same exception."""
        return self.name, self.address.rpartition(":")[0], self.profile, self.reason, self.until


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceReceived(NetworkEvent):
    """A SOP Instance was stored or refused. `status` is that of PS3.4, Table B.2-1; `file` is empty if it was not kept.

    `unmet` has the codes of the demands of the listener's policy that it does not meet; `file` is then that in the
    quarantine, if there is one.
    """

    sop_instance_uid: str
    status: int
    file: str
    subject: str
    unmet: tuple[str, ...] = ()


def make_handshake_event(name: str, address: str, facts: ConnectionFacts) -> HandshakeSucceeded:
    """Make the event of a handshake that succeeded."""
    certificate = facts.certificate
    return HandshakeSucceeded(
        name=name,
        address=address,
        text=f"{name}: {address} is {facts}.",
        transport=facts.transport,
        profile=facts.profile,
        version=facts.version,
        suite=facts.suite,
        subject=facts.subject,
        serial=certificate.serial if certificate else "",
        spki_sha256=certificate.spki_sha256 if certificate else "",
        resumed=facts.resumed,
        group=facts.group or "",
    )
