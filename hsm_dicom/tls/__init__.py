"""TLS for DICOM (PS3.15 Annex B) with the private key on a token: current profiles, on Python's own `ssl`.

| module            | holds                                                                              |
|-------------------|------------------------------------------------------------------------------------|
| contexts.py       | `server_context`, `client_context`: `ssl.SSLContext` objects for any library       |
| profiles.py       | the profiles as data: versions, suites, groups, signature algorithms, sizes        |
| suites.py         | cipher suites by number, with OpenSSL's names                                      |
| offered.py        | what of a profile the installed OpenSSL offers                                     |
| verification.py   | `hsm_dicom.trust` asked inside the handshake                                       |
| signer.py         | handshake signatures by any private key                                            |
| hosts.py          | host names as DNS and certificates have them                                       |
| facts.py          | what was negotiated, and with whom                                                 |
| failures.py       | from an `ssl.SSLError` to a sentence                                               |
| errors.py         | `HandshakeError` and the rest                                                     |
| openssl.py        | the one module that reaches below `ssl`                                            |
| legacy/           | profiles with RSA key exchange, for machines that can do nothing else; apart       |
"""

from hsm_dicom.tls.algorithms import SuiteAlgorithms, algorithms_of
from hsm_dicom.tls.contexts import ALPN, Authentication, client_context, server_context
from hsm_dicom.tls.errors import (
    ContextError,
    FailureReason,
    HandshakeError,
    LegacyRefusedError,
    TLSError,
    UnknownProfileError,
)
from hsm_dicom.tls.facts import PeerCertificate, TLSFacts, facts_of, peer_certificate, spki_sha256
from hsm_dicom.tls.failures import handshake_failed
from hsm_dicom.tls.offered import ProfileReport, reports
from hsm_dicom.tls.profiles import DEFAULT, PROFILES, Profile, profile_named

__all__ = [
    "ALPN",
    "DEFAULT",
    "PROFILES",
    "Authentication",
    "ContextError",
    "FailureReason",
    "HandshakeError",
    "LegacyRefusedError",
    "PeerCertificate",
    "Profile",
    "ProfileReport",
    "SuiteAlgorithms",
    "TLSError",
    "TLSFacts",
    "UnknownProfileError",
    "algorithms_of",
    "client_context",
    "facts_of",
    "handshake_failed",
    "peer_certificate",
    "profile_named",
    "reports",
    "server_context",
    "spki_sha256",
]
