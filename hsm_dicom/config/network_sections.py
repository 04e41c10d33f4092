"""The tables about the network: who is trusted, who the peers are, where this node listens.

Only their form is checked here; what profiles there are, and whether names and pins make sense, is looked at where
they are compiled (`hsm_dicom.node.compiler`).
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from hsm_dicom.config.base import FilePath, Section, Text
from hsm_dicom.config.iscl_section import ISCLSection

Port = Annotated[int, Field(ge=1, le=65535)]
Places = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=600)]
AuthenticationName = Literal["mutual", "one-way"]


class TrustSection(Section):
    """`[trust]`: whose certificates are trusted on the network."""

    anchors: tuple[FilePath, ...] = ()
    """CA certificates, PEM or DER; a folder stands for the files in it. Nothing else is trusted."""
    intermediates: tuple[FilePath, ...] = ()
    """Certificates between, which peers may not send themselves."""
    crls: tuple[FilePath, ...] = ()
    """Certificate revocation lists. Read anew at each reload (SIGHUP)."""
    ocsp_responses: tuple[FilePath, ...] = ()
    """OCSP responses (DER), fetched by somebody else."""
    revocation: Literal["when-given", "required", "if-available"] = "when-given"
    """When a certificate whose revocation is unknown is trusted; see `hsm_dicom.trust.RevocationPolicy`."""


class LegacySection(Section):
    """`legacy` of a peer or a listener: a retired TLS profile, opened by name."""

    profile: Text
    """aes-tls, basic-tls, des-tls, dhe-aes, dhe-3des or dhe-des; hsm-dicom tls profiles explains them."""
    reason: Text
    """Why it is needed. Told with each use."""
    dh_bits: Literal[1024, 2048, 3072, 4096] = 2048
    """Bits of the Diffie-Hellman group (profiles dhe-*): of ours as a server, of the smallest as a client."""
    until: datetime.date
    """The last day on which it holds, such as 2030-12-31."""


class PeerSection(Section):
    """`[peers.NAME]`: another application entity. It is known by its certificate, in both directions."""

    ae_titles: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The AE titles that it may use; the first one is called."""
    host: Text | None = None
    """Where it is reached. Unless names, subject or pins say otherwise, its certificate must be for this name."""
    port: Port | None = None
    """Its port; 2762 (dicom-tls), or 2761 (dicom-iscl) for ISCL, unless said otherwise."""
    names: tuple[Text, ...] = ()
    """Host names or addresses, of which its certificate must hold one."""
    subject: Text | None = None
    """The subject that its certificate must have (RFC 4514)."""
    pins: frozenset[Text] = frozenset()
    """SHA-256 values of public keys in hexadecimal, of which its key must have one; hsm-dicom tls probe shows it."""
    profile: Text | None = None
    """The TLS profile; bcp195-rfc9325 unless said otherwise."""
    authentication: AuthenticationName = "mutual"
    """one-way: we show it no certificate of ours."""
    identity: Text | None = None
    """The NAME of the identity that we show it; not needed where there is only one."""
    calling_ae_title: Text | None = None
    """What we call ourselves towards it."""
    answer_seconds: Seconds = 30.0
    """How long it may take for each of its answers: large objects, which it has to store first, may need more."""
    legacy: LegacySection | None = None
    """A retired profile instead of `profile`."""
    iscl: ISCLSection | None = None
    """ISCL instead of TLS, or in it."""


class ListenerSection(Section):
    """`[listeners.NAME]`: an address where associations are accepted."""

    ae_title: Text
    """Our AE title."""
    host: Text = "127.0.0.1"
    """The address to listen on. Only this machine reaches the default."""
    port: Port | None = None
    """The port; 2762 (dicom-tls), or 2761 (dicom-iscl) for ISCL, unless said otherwise."""
    identities: tuple[Text, ...] = ()
    """The NAMEs of our identities: one with an RSA key, one with an EC key, or both. ISCL without TLS needs none."""
    peers: tuple[Text, ...] | None = None
    """The NAMEs of the peers that may call; all of them unless said otherwise."""
    profile: Text | None = None
    """The TLS profile; bcp195-rfc9325 unless said otherwise."""
    authentication: AuthenticationName = "mutual"
    """one-way: callers need no certificate, and anybody may use any AE title of a peer."""
    legacy: LegacySection | None = None
    """A retired profile instead of `profile`, for this listener as a whole."""
    iscl: ISCLSection | None = None
    """ISCL instead of TLS, or in it, for this listener as a whole."""
    store: FilePath | None = None
    """The folder that takes received SOP Instances; without it, only Verification is served."""
    check_signatures: bool = False
    """Refuse an instance whose digital signature does not hold. Unsigned instances are accepted, and signatures by any
    certificate, also one that the sender made: who signed is not asked."""
    sop_classes: Literal["storage", "any"] | tuple[Text, ...] = "storage"
    """Which SOP Classes are stored: those of the standard with the retired ones, any, or these UIDs and keywords."""
    largest_object_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    """The longest Data Set that is stored, in MiB (1048576 bytes)."""
    associations: Places = 32
    """How many associations may run at once. A peer takes one of them once it is known and its AE title matches."""
    unidentified: Places = 64
    """How many connections may be open that have not come so far."""
    unidentified_per_address: Places = 4
    """How many of these from one address; of IPv6, from one /64 network."""
    waiting: Annotated[int, Field(ge=0, le=1000)] = 128
    """How many more connections may wait for one of these places."""
    waiting_per_address: Annotated[int, Field(ge=0, le=1000)] = 32
    """How many of these from one address."""
    yield_seconds: Seconds = 1.0
    """How long an unidentified peer may keep us waiting before it has to make way for a connection that waits."""
    handshake_seconds: Seconds = 10.0
    """How long a peer may take for its handshake."""
    request_seconds: Seconds = 10.0
    """How long a peer may take after it for its request for an association (A-ASSOCIATE-RQ)."""
    read_seconds: Seconds = 30.0
    """How long a peer may take for each PDU after that, from its first byte, and to take each of ours."""
    idle_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """After how long an association is ended in which nothing happens."""
    stop_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """How long open associations may go on when the listener stops, before they are aborted."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """How many handshakes compute at the same moment."""
