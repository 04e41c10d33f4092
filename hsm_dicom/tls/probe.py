"""Probe of a TLS server: its offers, its certificate, and their conformance to a profile (`hsm-dicom tls probe`)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hsm_dicom.tls import hello, openssl
from hsm_dicom.tls.errors import FailureReason, HandshakeError
from hsm_dicom.tls.facts import PeerCertificate, peer_certificate
from hsm_dicom.tls.hosts import ascii_host
from hsm_dicom.tls.offered import list_offered
from hsm_dicom.tls.profiles import DEFAULT, TLSProfile
from hsm_dicom.tls.suites import SUITES
from hsm_dicom.tls.verification import restrict_validator
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Policy, TrustVerdict
from hsm_dicom.trust.certificates import MalformedCertificateError, read_certificate
from hsm_dicom.trust.roles import UnfitRole, find_unfit_roles, loses_client_auth
from tokens.printable import format_seconds

SECONDS = 5.0
"""Timeout in seconds for each connection of the probe."""

_TLS_ROLES = (CertificatePurpose.TLS_CLIENT, CertificatePurpose.TLS_SERVER)

# Suites that no profile names and that old servers still choose: RSA and (EC)DHE with CBC, RC4, 3DES.
_OTHERS = {
    0xC009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    0xC00A: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC023: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    0xC024: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
    0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
    0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
    0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256",
    0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0xC012: "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0016: "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0005: "TLS_RSA_WITH_RC4_128_SHA",
    0x0004: "TLS_RSA_WITH_RC4_128_MD5",
    0x0002: "TLS_RSA_WITH_NULL_SHA",
    0x0001: "TLS_RSA_WITH_NULL_MD5",
}


@dataclass(frozen=True)
class VersionOffer:
    """A version that the server supports, and the suites that it accepts. `server_order`: the server chooses."""

    version: str
    suites: tuple[str, ...]
    server_order: bool


@dataclass(frozen=True)
class ProbeResult:
    """The result of a probe. `verdict` is None without a validator, `chain` empty if the server sent no certificate.

    `groups` are those that the server accepts in TLS 1.3, the one that it prefers first.
    `unfit_roles` are the roles of TLS that the certificate cannot fill, and `loses_client_auth` is whether the next one
    of its public CA will not do for a client.
    `name_fits` is whether the certificate is for the requested host; `mismatch` is a sentence if it is not the one that
    is expected, which is a matter of that name unless the caller expects another. `remarks` are sentences about the
    conformance to the profile, and `acceptable` is whether we would connect to this server under it.
    """

    host: str
    port: int
    profile: str
    offers: tuple[VersionOffer, ...]
    groups: tuple[str, ...]
    chain: tuple[PeerCertificate, ...]
    verdict: TrustVerdict | None
    unfit_roles: tuple[UnfitRole, ...]
    loses_client_auth: bool
    name_fits: bool
    mismatch: str
    wants_certificate: bool | None
    remarks: tuple[str, ...]
    acceptable: bool


def probe(
    host: str,
    port: int,
    *,
    validator: CertificateValidator | None = None,
    profile: TLSProfile = DEFAULT,
    find_mismatch: Callable[[PeerCertificate], str | None] | None = None,
    seconds: float = SECONDS,
) -> ProbeResult:
    """Find out what a server offers, with some dozens of connections, without our certificate and without DICOM.

    `find_mismatch` returns a sentence if the certificate is not that of the server; without it, the certificate must be
    for `host`. Raises `HandshakeError` if no server answers, or not with TLS, and `HostNameError`.
    """
    host = ascii_host(host)
    _require_tls(host, port, seconds)
    versions = (hello.TLS13, hello.TLS12, hello.TLS11, hello.TLS10, hello.SSL3)
    offers = tuple(offer for version in versions if (offer := _offer(host, port, version, seconds)))
    groups = _list_groups(host, port, seconds) if any(offer.version == "TLSv1.3" for offer in offers) else ()
    shown = _Shown()
    wants_certificate = _shake_hands(host, port, shown, seconds)
    chain = _readable(shown.certificates)
    verdict = None
    if validator is not None and shown.certificates:
        restricted = restrict_validator(validator, profile.algorithms)
        verdict = restricted.validate(
            shown.certificates[0], CertificatePurpose.TLS_SERVER, intermediates=shown.certificates[1:]
        )
    own = read_certificate(shown.certificates[0], Policy.max_certificate_bytes) if chain else None
    name_fits = bool(chain) and chain[0].is_for(host)
    mismatch = _find_mismatch(chain, name_fits) if find_mismatch is None or not chain else find_mismatch(chain[0]) or ""
    remarks = tuple(_remarks(profile, offers, groups, mismatch, verdict))
    in_common = {suite.name for suite in list_offered(profile)} & {name for offer in offers for name in offer.suites}
    trusted = verdict is None or verdict.trusted
    return ProbeResult(
        host=host,
        port=port,
        profile=profile.name,
        offers=offers,
        groups=groups,
        chain=chain,
        verdict=verdict,
        unfit_roles=() if own is None else find_unfit_roles(own, _TLS_ROLES),
        loses_client_auth=own is not None and loses_client_auth(own),
        name_fits=name_fits,
        mismatch=mismatch,
        wants_certificate=wants_certificate,
        remarks=remarks,
        acceptable=bool(in_common) and not mismatch and trusted,
    )


def suite_name(code: int) -> str:
    """Return a suite's IANA name, or its number if it has none."""
    if code in SUITES:
        return SUITES[code].name
    return _OTHERS.get(code, f"{code:04X}")


class _Shown:
    """The certificates that the server sent in a complete handshake."""

    def __init__(self) -> None:
        self.certificates: Sequence[bytes] = ()

    def take(self, certificates: Sequence[bytes], found: int) -> int:
        """Record the certificates in place of validation, and accept them."""
        self.certificates = certificates
        return 0


def _require_tls(host: str, port: int, seconds: float) -> None:
    peer = f"{host}:{port}"
    try:
        hello.ask((host, port), hello.TLS12, list(SUITES), hello.server_name(host), seconds)
    except hello._NoServerHelloError as answer:
        if answer.alert is None:
            raise HandshakeError(
                FailureReason.NOT_TLS, peer, f"{peer} does not answer as a TLS server; it may use DICOM without TLS."
            ) from answer
    except TimeoutError as error:
        raise HandshakeError(
            FailureReason.TIMED_OUT, peer, f"{peer} does not answer a TLS greeting within {format_seconds(seconds)}."
        ) from error
    except OSError as error:
        raise HandshakeError(
            FailureReason.CLOSED,
            peer,
            f"{peer} cannot be reached ({error.strerror or error}); check the address, the port and the firewall.",
        ) from error


def _offer(host: str, port: int, version: int, seconds: float) -> VersionOffer | None:
    """List the suites that the server accepts in one version, in the order in which it chose them."""
    tls13 = version == hello.TLS13
    waiting = [code for code in (*SUITES, *_OTHERS) if (code >> 8 == 0x13) is tls13]
    chosen: list[int] = []
    while waiting:
        code = _choice(host, port, version, waiting, seconds)
        if code is None or code not in waiting:
            break
        chosen.append(code)
        waiting.remove(code)
    if not chosen:
        return None
    backwards = _choice(host, port, version, chosen[::-1], seconds)
    server_order = len(chosen) > 1 and backwards == chosen[0]
    return VersionOffer(hello.VERSION_NAMES[version], tuple(map(suite_name, chosen)), server_order)


def _choice(host: str, port: int, version: int, suites: Sequence[int], seconds: float) -> int | None:
    try:
        answer = hello.ask((host, port), version, suites, hello.server_name(host), seconds)
    except (hello._NoServerHelloError, OSError):
        return None
    return answer.suite if answer.version == version else None


def _list_groups(host: str, port: int, seconds: float) -> tuple[str, ...]:
    """List the groups that the server accepts in TLS 1.3, the one that it chooses of all of them first."""
    suites = [code for code in SUITES if code >> 8 == 0x13]
    name = hello.server_name(host)

    def choose(groups: Sequence[int]) -> int | None:
        try:
            return hello.ask((host, port), hello.TLS13, suites, name, seconds, groups).group
        except (hello._NoServerHelloError, OSError):
            return None

    accepted = [group for group in hello.GROUP_NAMES if choose([group]) == group]
    preferred = choose(accepted) if accepted else None
    accepted.sort(key=lambda group: group != preferred)
    return tuple(hello.GROUP_NAMES[group] for group in accepted)


def _shake_hands(host: str, port: int, shown: _Shown, seconds: float) -> bool | None:
    """Do a handshake that records the certificates; return whether the server requests ours (None if unknown)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Any certificate is accepted here; it is validated afterwards.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.check_hostname = False
    openssl.set_peer_validator(context, shown.take)
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            # A TLS 1.3 server reports only now that it requires a certificate; any other server sends nothing.
            secured.settimeout(min(seconds, 0.5))
            secured.recv(1)
    except TimeoutError:
        return False
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "") or None
    except OSError:
        return None
    return None


def _readable(certificates: Sequence[bytes]) -> tuple[PeerCertificate, ...]:
    """Return the certificates that can be decoded; the verdict covers the others."""
    shown = []
    for der in certificates:
        try:
            shown.append(peer_certificate(read_certificate(der, Policy.max_certificate_bytes)))
        except MalformedCertificateError:
            break
    return tuple(shown)


def _find_mismatch(chain: Sequence[PeerCertificate], name_fits: bool) -> str:
    """Return a sentence if the server's certificate is not for the name by which it was asked; else empty."""
    if not chain:
        return "It sent no certificate."
    if name_fits:
        return ""
    names = ", ".join((*chain[0].dns_names, *chain[0].ip_addresses)) or "no name at all"
    return f"Its certificate is for another name ({names}); connect by that name, or pin its key."


def _remarks(
    profile: TLSProfile,
    offers: Sequence[VersionOffer],
    groups: Sequence[str],
    mismatch: str,
    verdict: TrustVerdict | None,
) -> list[str]:
    allowed = {suite.name for suite in list_offered(profile)}
    lowest = {ssl.TLSVersion.TLSv1_2: ("TLSv1.2", "TLSv1.3"), ssl.TLSVersion.TLSv1_3: ("TLSv1.3",)}
    versions = lowest[profile.minimum_version]
    remarks = []
    in_common = [name for offer in offers if offer.version in versions for name in offer.suites if name in allowed]
    if not in_common:
        remarks.append(f"It has no suite that {profile.name} allows: no connection is possible under this profile.")
    for offer in offers:
        if offer.version not in versions:
            remarks.append(f"It still supports {offer.version}, which {profile.name} forbids; disable it there.")
    weak = {name for offer in offers if offer.version in versions for name in offer.suites} - allowed
    if weak:
        remarks.append(f"It also accepts suites outside {profile.name}: {', '.join(sorted(weak))}.")
    if groups and not {*groups} & {*profile.groups, *profile.additional_groups}:
        remarks.append(f"It has no group that {profile.name} allows: {', '.join(groups)}.")
    if mismatch:
        remarks.append(mismatch)
    if verdict is not None and not verdict.trusted:
        remarks.append(verdict.text)
    return remarks
