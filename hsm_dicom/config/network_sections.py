"""Tables of the network: trust, peers and listeners.

Only their form is checked here; profiles, names and pins are checked where
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
    """`[trust]`: whose certificates are trusted, of peers and of those who sign objects."""

    anchors: tuple[FilePath, ...] = ()
    """CA certificates, PEM or DER, or folders of them. Nothing else is trusted."""
    timestamp_anchors: tuple[FilePath, ...] = ()
    """CA certificates of time stamping authorities, whose time stamps on signatures are trusted."""
    intermediates: tuple[FilePath, ...] = ()
    """Intermediate certificates, for peers that do not send them, and for signers, whose signatures hold none."""
    crls: tuple[FilePath, ...] = ()
    """Certificate revocation lists. Read again at each reload (SIGHUP)."""
    ocsp_responses: tuple[FilePath, ...] = ()
    """OCSP responses (DER), which another program has fetched."""
    revocation: Literal["when-given", "required", "if-available"] = "when-given"
    """Whether a certificate with unknown revocation status is trusted. required: never. when-given: not if a CRL or
    OCSP response is configured, else with a warning. if-available: with a warning."""


class LegacySection(Section):
    """`legacy` of a peer or a listener: an exception that enables a retired TLS profile."""

    profile: Text
    """aes-tls, basic-tls, des-tls, dhe-aes, dhe-3des or dhe-des; hsm-dicom tls profiles explains them."""
    reason: Text
    """Why it is needed. Logged with each use."""
    dh_bits: Literal[1024, 2048, 3072, 4096] = 2048
    """Bits of the Diffie-Hellman group (profiles dhe-*): the group of a server, the smallest that a client accepts."""
    until: datetime.date
    """The last day of the exception, such as 2030-12-31."""


class PeerSection(Section):
    """`[peers.NAME]`: another application entity, identified by its certificate in both directions."""

    ae_titles: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The AE titles that it may use. The first one is the called AE title when this node connects."""
    host: Text | None = None
    """Its host name or address. Without names, subject and pins, its certificate must be for this name."""
    port: Port | None = None
    """Its port; by default 2762 (dicom-tls), or 2761 (dicom-iscl) for ISCL."""
    names: tuple[Text, ...] = ()
    """Host names or addresses; its certificate must contain one of them."""
    subject: Text | None = None
    """The subject of its certificate (RFC 4514)."""
    pins: frozenset[Text] = frozenset()
    """SHA-256 values of public keys in hexadecimal; its key must have one of them. hsm-dicom tls probe shows it."""
    profile: Text | None = None
    """The TLS profile; by default bcp195-rfc9325."""
    authentication: AuthenticationName = "mutual"
    """one-way: this node shows the peer no certificate."""
    identity: Text | None = None
    """The NAME of the identity that this node shows to it; not needed if there is only one."""
    calling_ae_title: Text | None = None
    """The calling AE title of this node towards it; not needed if all listeners have the same."""
    answer_seconds: Seconds = 30.0
    """Seconds for each answer of the peer. A peer that stores large objects before it answers may need more."""
    legacy: LegacySection | None = None
    """A retired profile instead of `profile`."""
    iscl: ISCLSection | None = None
    """ISCL instead of TLS, or inside TLS."""


class ListenerSection(Section):
    """`[listeners.NAME]`: an address on which this node accepts associations."""

    ae_title: Text
    """The AE title of this node."""
    host: Text = "127.0.0.1"
    """The address to listen on. The default can be reached from this machine only."""
    port: Port | None = None
    """The port; by default 2762 (dicom-tls), or 2761 (dicom-iscl) for ISCL."""
    identities: tuple[Text, ...] = ()
    """The NAMEs of this node's identities: one with an RSA key, one with an EC key, or both. None for ISCL alone."""
    peers: tuple[Text, ...] | None = None
    """The NAMEs of the peers that may call; by default all of them."""
    profile: Text | None = None
    """The TLS profile; by default bcp195-rfc9325."""
    authentication: AuthenticationName = "mutual"
    """one-way: callers need no certificate, so that anyone can use the AE title of a peer."""
    legacy: LegacySection | None = None
    """A retired profile instead of `profile`, for the whole listener."""
    iscl: ISCLSection | None = None
    """ISCL instead of TLS, or inside TLS, for the whole listener."""
    store: FilePath | None = None
    """The folder for received SOP Instances; the listener creates it if it does not exist. Without this key, it
    accepts Verification only."""
    policy: Text | None = None
    """The NAME of the `[policies.NAME]` that received instances must meet."""
    on_unmet: Literal["refuse", "quarantine"] | None = None
    """With `policy`: what happens to an instance that does not meet it. refuse (the default): it is not stored.
    quarantine: it is stored in the folder `quarantine`."""
    quarantine: FilePath | None = None
    """The folder for such instances; by default `quarantine` in the folder `store`."""
    quarantine_answer: Literal["failure", "success"] | None = None
    """What the sender of such an instance is answered: failure (C001, the default), or success, after which it may
    delete its copy."""
    check_signatures: bool = False
    """Deprecated, write `policy`. Refuse an instance with a broken digital signature; unsigned instances are accepted,
    and signatures by any certificate, even one that the sender made."""
    sop_classes: Literal["storage", "any"] | tuple[Text, ...] = "storage"
    """The SOP Classes that are stored: those of the standard with the retired ones, any, or these UIDs and keywords."""
    largest_object_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    """The size of the largest Data Set that is stored, in MiB (1048576 bytes)."""
    associations: Places = 32
    """The number of associations at the same time. A peer counts once it is identified and its AE title matches."""
    unidentified: Places = 64
    """The number of open connections whose peers are not identified yet."""
    unidentified_per_address: Places = 4
    """The number of these from one address; for IPv6, from one /64 network."""
    waiting: Annotated[int, Field(ge=0, le=1000)] = 128
    """The number of connections that may wait for one of these places."""
    waiting_per_address: Annotated[int, Field(ge=0, le=1000)] = 32
    """The number of these from one address."""
    yield_seconds: Seconds = 1.0
    """Seconds after which an unidentified connection gives its place to one that waits."""
    handshake_seconds: Seconds = 10.0
    """Seconds for a whole handshake."""
    request_seconds: Seconds = 10.0
    """Seconds from the handshake to the peer's association request (A-ASSOCIATE-RQ)."""
    read_seconds: Seconds = 30.0
    """Seconds for each further PDU of the peer, from its first byte, and for the peer to accept each PDU of ours."""
    idle_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """Seconds without activity after which an association is ended."""
    stop_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Seconds for open associations when the listener stops, before they are aborted."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """The number of handshakes that compute at the same time."""
