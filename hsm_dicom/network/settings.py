"""Settings of peers and listeners: frozen data classes, filled from the configuration or by a program.

A **peer** is identified by its certificate, or in ISCL by its authentication data, in both directions. It may use only
its own AE titles: as calling AE title when it connects, and as called AE title when this node connects to it.

    pacs = Peer(name="PACS", host="pacs.example", ae_titles=("PACS",))
    ct = Peer(name="CT 1", ae_titles=("CT1",), certificate=CertificateMatch(pins=frozenset({"9f86…"})))
    listener = ListenerSettings(name="main", ae_title="NODE", peers=(pacs, ct))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from hsm_dicom.iscl import ISCLSettings
from hsm_dicom.network.errors import Mistake, SettingsError, raise_mistakes
from hsm_dicom.network.storage.sop_classes import SopClasses
from hsm_dicom.tls import DEFAULT, AuthenticationMode, TLSProfile
from hsm_dicom.tls.hosts import HostNameError, ascii_host
from hsm_dicom.tls.settings import LegacyExemption
from tokens.errors import CeremonyError

DICOM_TLS_PORT = 2762
"""Registered port of DICOM over TLS (PS3.15, Annex B; PS3.8, 9.1.1). For ISCL, see `hsm_dicom.iscl.PORT`."""

LOOPBACK = "127.0.0.1"

MAXIMUM_PDU = 131072
"""Maximum PDU length that this node accepts, in bytes (PS3.8, D.1): that of DCMTK. Small PDUs cost more than TLS."""


@dataclass(frozen=True, kw_only=True)
class CertificateMatch:
    """Requirements on a peer's certificate that distinguish it from others of the same CA.

    `names` are host names or addresses, of which one must be in the subject alternative name; `subject` is the whole
    subject (RFC 4514); `pins` are SHA-256 values of the SubjectPublicKeyInfo in hexadecimal (RFC 7469), of which one
    must match. The certificate must satisfy all requirements that are set.
    """

    names: tuple[str, ...] = ()
    subject: str | None = None
    pins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        for pin in sorted(self.pins):
            if len(pin) != 64 or any(digit not in "0123456789abcdef" for digit in pin):
                yield Mistake(
                    "pins",
                    f"'{pin[:16]}…' is not a pin.",
                    "Write the SHA-256 of the public key, 64 lower-case hexadecimal digits, as hsm-dicom tls probe "
                    "shows it.",
                )
        if self.subject is not None and not _is_name(self.subject):
            yield Mistake(
                "subject",
                f"The subject '{self.subject}' is not a name in the form of RFC 4514.",
                _spell_subject(self.subject),
            )

    @property
    def is_empty(self) -> bool:
        """Whether no requirement is set."""
        return not (self.names or self.subject or self.pins)


@dataclass(frozen=True, kw_only=True)
class ISCLExemption:
    """Use of ISCL instead of TLS or, with `over_tls`, inside TLS."""

    settings: ISCLSettings
    over_tls: bool = False


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another application entity, or several on one machine.

    If `certificate` is empty, the certificate must contain `host` in its subject alternative name. The first of
    `ae_titles` is the called AE title. `entity` is the peer's authentication data in ISCL, by default its `name`.
    `answer_seconds` is the timeout for each answer of the peer if this node is the requestor.
    """

    name: str
    ae_titles: tuple[str, ...]
    host: str | None = None
    port: int = DICOM_TLS_PORT
    certificate: CertificateMatch = field(default_factory=CertificateMatch)
    profile: TLSProfile = DEFAULT
    authentication: AuthenticationMode = AuthenticationMode.MUTUAL
    legacy: LegacyExemption | None = None
    iscl: ISCLExemption | None = None
    entity: str | None = None
    answer_seconds: float = 30.0

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        if not self.ae_titles:
            yield Mistake("ae_titles", f"Peer '{self.name}' has no AE title.", "Name at least one.")
        for title in self.ae_titles:
            yield from find_bad_ae_title("ae_titles", title)
        yield from _find_two_transports(f"Peer '{self.name}'", self.legacy, self.iscl)
        if self.host is not None:
            yield from find_bad_host("host", f"Peer '{self.name}'", self.host)
        for name in self.certificate.names:
            yield from find_bad_host("names", f"Peer '{self.name}'", name)
        if self.match.is_empty and uses_tls(self.iscl):
            yield Mistake(
                "",
                f"Nothing identifies the certificate of peer '{self.name}'.",
                "Write host =, or names =, subject = or pins = of its certificate.",
            )

    @property
    def match(self) -> CertificateMatch:
        """Requirements on the peer's certificate; by default, that it contains `host`."""
        if self.certificate.is_empty and self.host:
            return CertificateMatch(names=(self.host,))
        return self.certificate

    @property
    def iscl_entity(self) -> str:
        """The peer's authentication data in ISCL."""
        return self.entity or self.name

    @property
    def ae_title(self) -> str:
        """The called AE title when this node connects to the peer."""
        return self.ae_titles[0]

    @property
    def address(self) -> str:
        """Host and port, for messages and connections. Raises `SettingsError` if the peer has no host."""
        if self.host is None:
            raise SettingsError(
                f"This node cannot connect to peer '{self.name}': it has no host.",
                remedy=f"Write host = in [peers.{self.name}].",
            )
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a listener. Times are in seconds.

    A connection is unidentified until its A-ASSOCIATE-RQ has arrived and the listener has checked that its peer may use
    the calling AE title. At most `unidentified` such connections exist at a time, `unidentified_per_address` of them
    from one address (one /64 network of IPv6). Further connections wait for a place: at most `waiting` in all,
    `waiting_per_address` from one address. An unidentified connection loses its place to a waiting one after
    `yield_seconds`. `workers` handshakes compute at the same time. At most `associations` run at the same time.

    `handshake_seconds` limits the whole handshake, and `request_seconds` the A-ASSOCIATE-RQ after it. `read_seconds`
    limits each further PDU, from its first byte, and the peer's acceptance of each PDU of this node. An association
    ends after `idle_seconds` without activity. When the listener stops, it aborts associations after `stop_seconds`.
    """

    unidentified: int = 64
    unidentified_per_address: int = 4
    waiting: int = 128
    waiting_per_address: int = 32
    yield_seconds: float = 1.0
    workers: int = 8
    associations: int = 32
    handshake_seconds: float = 10.0
    request_seconds: float = 10.0
    read_seconds: float = 30.0
    idle_seconds: float = 60.0
    stop_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """Where instances that are not accepted are kept, and whether their sender is told success for them."""

    folder: Path
    answers_success: bool = False


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Settings for the SOP Instances that a listener receives.

    The listener stores instances of `sop_classes` in `folder`. `policy` is the name of the policy that they must meet;
    those that do not are refused, or kept in `quarantine`. With `check_signatures`, it refuses an instance with a
    broken digital signature; it accepts unsigned instances and signatures by any certificate. It also refuses a Data
    Set of more than `largest_object_mib` MiB (of 1048576 bytes).
    """

    folder: Path
    sop_classes: SopClasses = field(default_factory=SopClasses)
    largest_object_mib: int = 4096
    policy: str | None = None
    quarantine: Quarantine | None = None
    check_signatures: bool = False


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """Settings of a listener that accepts associations. By default, `host` is loopback.

    A listener with a `legacy` exemption serves only that retired profile, and only the peers in `peers`. A listener
    with an `iscl` exemption serves only ISCL.
    """

    name: str
    ae_title: str
    peers: tuple[Peer, ...]
    host: str = LOOPBACK
    port: int = DICOM_TLS_PORT
    profile: TLSProfile = DEFAULT
    authentication: AuthenticationMode = AuthenticationMode.MUTUAL
    legacy: LegacyExemption | None = None
    iscl: ISCLExemption | None = None
    storage: StorageSettings | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        who = f"The listener '{self.name}'"
        yield from find_bad_ae_title("ae_title", self.ae_title)
        yield from find_bad_host("host", who, self.host)
        yield from _find_two_transports(who, self.legacy, self.iscl)
        if self.legacy is not None and not self.peers:
            yield Mistake(
                "peers",
                f"{who} enables the retired profile '{self.legacy.profile}' for nobody.",
                'Name the peers that need it: peers = ["NAME"].',
            )


def check_ae_title(key: str, title: str) -> None:
    """Raise `SettingsError`, with a mistake at `key`, unless `title` is a valid AE title (PS3.5, 6.2)."""
    raise_mistakes(find_bad_ae_title(key, title))


def uses_tls(iscl: ISCLExemption | None) -> bool:
    """Return whether the connection uses TLS, alone or under ISCL."""
    return iscl is None or iscl.over_tls


def _find_two_transports(who: str, legacy: LegacyExemption | None, iscl: ISCLExemption | None) -> Iterator[Mistake]:
    if legacy is not None and iscl is not None:
        yield Mistake("legacy", f"{who} enables a retired TLS profile and ISCL.", "Leave one of them out.")


def describe_transport(settings: Peer | ListenerSettings) -> str:
    """Return how the connections of a peer or a listener are secured, such as "TLS"."""
    if settings.iscl is not None:
        return "ISCL in TLS" if settings.iscl.over_tls else "ISCL"
    return "TLS" if settings.legacy is None else "retired TLS"


def find_bad_host(key: str, who: str, host: str) -> Iterator[Mistake]:
    """Yield the mistake at `key` of a host name or address. `who` has it, and is the subject of the message."""
    try:
        ascii_host(host)
    except HostNameError as error:
        yield Mistake(key, f"{who} has a host that cannot be used: {error.message}", error.remedy or "")


def find_bad_ae_title(key: str, title: str) -> Iterator[Mistake]:
    """Yield the mistake of an AE title at `key`: PS3.5, 6.2 (VR AE), 1 to 16 characters, no space at either end."""
    printable = title.isascii() and title.isprintable() and "\\" not in title
    if not 0 < len(title.strip()) <= 16 or title != title.strip() or not printable:
        yield Mistake(
            key,
            f"'{title}' is not an AE title.",
            "Write 1 to 16 ASCII characters, without a backslash and without a space at either end.",
        )


def _spell_subject(text: str) -> str:
    """Return how to write a subject that was typed in another form, such as that of OpenSSL; or an example."""
    from tokens.csr import parse_subject  # it loads PKCS#11, for a mistake only

    try:
        name, verb = parse_subject(text).rfc4514_string(), "Write"
    except CeremonyError:
        name, verb = "CN=PACS,O=Hospital", "Write it like"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{verb} subject = "{escaped}".'


def _is_name(text: str) -> bool:
    try:
        x509.Name.from_rfc4514_string(text)
    except ValueError:
        return False
    return True
