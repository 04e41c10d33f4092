"""TLS for DICOM (PS3.15 Annex B) with the private key on a token: current profiles, on Python's own `ssl`.

| module       | holds                                                                                    |
|--------------|------------------------------------------------------------------------------------------|
| contexts     | `server_context`, `client_context`: `ssl.SSLContext` objects for any library             |
| profiles     | the profiles as data: versions, suites, groups, signature algorithms, sizes              |
| suites       | cipher suites by number, with OpenSSL's names                                            |
| algorithms   | the algorithms of a suite, with lengths in bits                                          |
| offered      | which suites of a profile the installed OpenSSL offers                                   |
| verification | validation of the peer's certificate by `hsm_dicom.trust`, inside the handshake          |
| siblings     | contexts that choose a certificate for each connection                                   |
| signer       | handshake signatures by any private key                                                  |
| hosts        | host names in DNS and in certificates                                                    |
| facts        | what was negotiated, and with whom                                                       |
| failures     | from an `ssl.SSLError` to a `HandshakeError`                                             |
| errors       | `TLSError` and its subclasses                                                            |
| settings     | `LegacyExemption`: the exception that enables a retired profile                            |
| probe        | what a server accepts, for `hsm-dicom tls probe`                                         |
| hello        | ClientHello messages, for the probe and retired profiles                                 |
| openssl      | settings of OpenSSL that Python's `ssl` does not offer                                   |
| _sslcontext  | the only use of the package `sslcontext` and of the layout of `ssl.SSLContext`           |
| legacy/      | retired profiles, for devices that support nothing else                                  |
"""

from hsm_dicom.tls.algorithms import SuiteAlgorithms, get_suite_algorithms
from hsm_dicom.tls.contexts import ALPN, AuthenticationMode, client_context, server_context
from hsm_dicom.tls.errors import (
    FailureReason,
    HandshakeError,
    TLSError,
)
from hsm_dicom.tls.facts import PeerCertificate, TLSFacts, get_tls_facts, peer_certificate, spki_sha256
from hsm_dicom.tls.failures import make_handshake_error
from hsm_dicom.tls.offered import ProfileReport, report_profiles
from hsm_dicom.tls.profiles import DEFAULT, PROFILES, TLSProfile, get_profile

__all__ = [
    "ALPN",
    "DEFAULT",
    "PROFILES",
    "AuthenticationMode",
    "FailureReason",
    "HandshakeError",
    "PeerCertificate",
    "ProfileReport",
    "SuiteAlgorithms",
    "TLSError",
    "TLSFacts",
    "TLSProfile",
    "client_context",
    "get_profile",
    "get_suite_algorithms",
    "get_tls_facts",
    "make_handshake_error",
    "peer_certificate",
    "report_profiles",
    "server_context",
    "spki_sha256",
]
