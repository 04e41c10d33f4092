"""`ssl.SSLContext` objects whose private key is on a token: ordinary ones, for whatever takes an `SSLContext`.

    with load_identity("node", configuration) as node:
        context = server_context([node], TrustStore.from_files(["ca.pem"]))
        ae.start_server(("127.0.0.1", 2762), ssl_context=context)  # pynetdicom; asyncio and http.server likewise

A context of either side has, in every library that it is given to, these checks inside the handshake: the profile's
versions, suites, groups, signature algorithms and sizes; and the verdict of `hsm_dicom.trust` on the peer's chain, its
dates, key usage, strength and revocation, by the CRLs and OCSP responses of `trust`.

What a bare context cannot check is **who the peer is beyond that**: which AE titles its certificate may use, pins, and
on the server a name. Give a context to a library of your own choice only where every holder of a certificate of your CA
may do everything. `hsm_dicom.network` checks the rest.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.arguments import choose, kind_of, require_bool
from hsm_dicom.identity import Identity
from hsm_dicom.tls import openssl
from hsm_dicom.tls._sslcontext import load_identity
from hsm_dicom.tls.errors import ContextError
from hsm_dicom.tls.offered import SECURITY_LEVEL, list_offered
from hsm_dicom.tls.profiles import DEFAULT, PROFILES, TLSProfile
from hsm_dicom.tls.siblings import follow_siblings
from hsm_dicom.tls.signer import KeySigner
from hsm_dicom.tls.verification import make_peer_validator, restrict_validator
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, TrustStore
from hsm_dicom.trust.algorithms import is_key_allowed

ALPN = "dicom"
"""The application protocol's name in the IANA registry (RFC 7301); RFC 9325, 3.7 asks for one."""


class AuthenticationMode(StrEnum):
    """Who proves who he is. PS3.15 B.12: mutual authentication is to be supported, and may be configured off."""

    MUTUAL = "mutual"
    ONE_WAY = "one-way"


def server_context(
    identities: Sequence[Identity],
    trust: TrustStore | CertificateValidator | None,
    *,
    profile: TLSProfile | str = DEFAULT,
    authentication: AuthenticationMode | str = AuthenticationMode.MUTUAL,
) -> ssl.SSLContext:
    """Make a context for accepting connections, with one RSA identity, one EC identity, or one of each.

    Clients must prove an identity that chains to `trust`, unless `authentication` is one-way. Sessions are not
    resumed: each connection proves both keys, so that a revocation applies from the next connection on. Of an identity
    with siblings, one is chosen for each connection. The order of suites is the client's unless the profile says
    otherwise. `profile` is a profile or its name; `authentication` is
    "mutual" or "one-way". Raises `ContextError`, and TypeError or ValueError for arguments that are not as described.
    """
    identities = _identities(identities)
    profile = _profile(profile)
    authentication = choose(AuthenticationMode, authentication, "authentication")
    validator = _validator(trust)
    if not identities:
        raise ContextError("A TLS server needs an identity; give at least one.")

    def build(chosen: Sequence[Identity], kind: type[ssl.SSLContext]) -> ssl.SSLContext:
        context = _context(kind, ssl.PROTOCOL_TLS_SERVER, profile, chosen)
        if not profile.server_order:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        openssl.size_dh_by_key(context)
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        openssl.keep_no_sessions(context)
        if authentication is AuthenticationMode.MUTUAL:
            _require_trust(context, validator, profile, CertificatePurpose.TLS_CLIENT)
        return context

    return follow_siblings(identities, build)


def client_context(
    identity: Identity | None,
    trust: TrustStore | CertificateValidator,
    *,
    profile: TLSProfile | str = DEFAULT,
    authentication: AuthenticationMode | str = AuthenticationMode.MUTUAL,
    check_hostname: bool = True,
) -> ssl.SSLContext:
    """Make a context for opening connections.

    The server must prove an identity that chains to `trust`, and whose subject alternative name holds the host name or
    address that was asked for; a common name does not count (RFC 9525, 6.3). `check_hostname=False` is for callers who
    know the server's key by a pin instead. Without an `identity`, `authentication` must say that one-way is meant.
    `profile` is a profile or its name; `authentication` is "mutual" or "one-way". Raises `ContextError`, and TypeError
    or ValueError for arguments that are not as described.
    """
    if identity is not None:
        _identities([identity])
    profile = _profile(profile)
    authentication = choose(AuthenticationMode, authentication, "authentication")
    validator = _validator(trust)
    require_bool("check_hostname", check_hostname)
    if (identity is None) is (authentication is AuthenticationMode.MUTUAL):
        raise ContextError(
            "Mutual authentication needs an identity, and one-way authentication uses none; "
            "give an identity, or choose one-way authentication."
        )

    def build(chosen: Sequence[Identity], kind: type[ssl.SSLContext]) -> ssl.SSLContext:
        context = _context(kind, ssl.PROTOCOL_TLS_CLIENT, profile, chosen)
        context.check_hostname = check_hostname
        context.hostname_checks_common_name = False
        _require_trust(context, validator, profile, CertificatePurpose.TLS_SERVER)
        return context

    return follow_siblings([identity] if identity else [], build)


def _identities(identities: object) -> list[Identity]:
    if isinstance(identities, Identity | str | bytes) or not isinstance(identities, Iterable):
        raise TypeError(f"identities must be a list of Identity (hsm_dicom.load_identity), not {kind_of(identities)}.")
    given = list(identities)
    for one in given:
        if not isinstance(one, Identity):
            raise TypeError(f"An identity must be an Identity (hsm_dicom.load_identity), not {kind_of(one)}.")
    return given


def _profile(profile: object) -> TLSProfile:
    if isinstance(profile, TLSProfile):
        return profile
    choices = ", ".join(map(repr, PROFILES))
    if not isinstance(profile, str):
        raise TypeError(f"profile must be one of {choices}, or a TLSProfile, not {kind_of(profile)}.")
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {choices}, not {profile!r}.")
    return PROFILES[profile]


def _validator(trust: object) -> CertificateValidator | None:
    if isinstance(trust, TrustStore):
        return CertificateValidator(trust)
    if trust is not None and not isinstance(trust, CertificateValidator):
        raise TypeError(
            f"trust must be a TrustStore, a CertificateValidator (hsm_dicom.trust), or None, not {kind_of(trust)}."
        )
    return trust


def _context(
    kind: type[ssl.SSLContext], side: int, profile: TLSProfile, identities: Sequence[Identity]
) -> ssl.SSLContext:
    context = kind(side)
    context.minimum_version, context.maximum_version = profile.minimum_version, profile.maximum_version
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    suites = list_offered(profile)
    context.set_ciphers(":".join([*(s.openssl for s in suites if not s.tls13), f"@SECLEVEL={SECURITY_LEVEL}"]))
    if profile.maximum_version is ssl.TLSVersion.TLSv1_3:
        openssl.set_tls13_suites(context, [suite.openssl for suite in suites if suite.tls13])
    # One group that OpenSSL does not have, as in FIPS mode, would make it refuse all of them.
    groups = tuple(filter(openssl.has_group, profile.groups)) or profile.groups
    openssl.prefer_groups(context, profile.additional_groups, groups)
    context.set_alpn_protocols([ALPN])
    own_algorithms = profile.signature_algorithms
    for identity in identities:
        signer = _signer(identity, profile)
        load_identity(
            context,
            identity.certificate.public_bytes(Encoding.DER),
            [link.public_bytes(Encoding.DER) for link in identity.chain],
            signer,
        )
        if not signer.supports_pss:
            own_algorithms = tuple(name for name in own_algorithms if not name.startswith("rsa_pss"))
    openssl.set_signature_algorithms(context, profile.signature_algorithms, own_algorithms)
    return context


def _signer(identity: Identity, profile: TLSProfile) -> KeySigner:
    key = identity.certificate.public_key()
    if not is_key_allowed(key, profile.algorithms):
        kind = f"RSA with {key.key_size} bits" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__
        raise ContextError(
            f"The key of identity '{identity.name}' ({kind}) is not one that {profile.name} allows: RSA from "
            f"{profile.algorithms.minimum_rsa_bits} bits, or {', '.join(sorted(profile.algorithms.curves))}."
        )
    signer = KeySigner(identity.key)
    if not signer.supports_pss and profile.maximum_version is ssl.TLSVersion.TLSv1_3:
        openssl.log.warning(
            "The token of identity '%s' offers neither PSS nor raw RSA: peers get TLS 1.2 from it, never TLS 1.3.",
            identity.name,
        )
    return signer


def _require_trust(
    context: ssl.SSLContext, validator: CertificateValidator | None, profile: TLSProfile, purpose: CertificatePurpose
) -> None:
    if validator is None or not validator.store.has_anchors:
        raise ContextError(
            f"No peer could be trusted as a {purpose}: there are no trust anchors. "
            "Add the certificate of the peers' CA."
        )
    context.verify_mode = ssl.CERT_REQUIRED
    # An anchor may be an intermediate CA or a single certificate; whether it is one, the validator says.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    store = validator.store
    for certificate in (*store.anchors, *store.intermediates):
        context.load_verify_locations(cadata=certificate.public_bytes(Encoding.DER))
    openssl.set_peer_validator(context, make_peer_validator(restrict_validator(validator, profile.algorithms), purpose))
