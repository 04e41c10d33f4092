"""The algorithms of a cipher suite: encryption, authentication, integrity and key exchange, each with its length.

They are parsed from the names of the IANA registry (RFC 5246, A.5; RFC 8446, B.4), so no table can contradict them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_BEFORE_TLS13 = re.compile(r"TLS_(?P<exchange>[A-Z]+(?:_[A-Z]+)?)_WITH_(?P<rest>.+)")
_CIPHERS = {
    "AES_128": ("AES", 128),
    "AES_256": ("AES", 256),
    "CAMELLIA_128": ("Camellia", 128),
    "CAMELLIA_256": ("Camellia", 256),
    "CHACHA20_POLY1305": ("ChaCha20", 256),
    "3DES_EDE": ("3DES", 168),
    "DES": ("DES", 56),
}
_TAGS = {"CCM_8": 64, "CCM": 128, "GCM": 128, "POLY1305": 128}
_HASHES = {"SHA": ("HMAC-SHA-1", 160), "SHA256": ("HMAC-SHA-256", 256), "SHA384": ("HMAC-SHA-384", 384)}


@dataclass(frozen=True)
class SuiteAlgorithms:
    """The algorithms of one connection; lengths are in bits, None where they are not known.

    `authentication` is the kind of key that the peer proved to hold, and its length; of a peer without certificate, how
    the suite has the server prove its own. `integrity` is the MAC, or the cipher's mode where encryption is
    authenticated. The length of a key exchange is that of the group, which Python 3.11 does not tell.
    """

    encryption: str
    encryption_bits: int | None
    authentication: str
    authentication_bits: int | None
    integrity: str
    integrity_bits: int | None
    key_exchange: str
    key_exchange_bits: int | None


def get_suite_algorithms(
    suite: str, certificate: x509.Certificate | None = None, key_exchange_bits: int | None = None
) -> SuiteAlgorithms | None:
    """Return the algorithms of a suite by its IANA name; None if it is not one that is known.

    `certificate` is the peer's, None after one-way authentication; `key_exchange_bits` is the size of the group.
    """
    match = _BEFORE_TLS13.fullmatch(suite)
    rest = match["rest"] if match else suite.removeprefix("TLS_")
    cipher = next((name for name in _CIPHERS if rest.startswith(f"{name}_")), None)
    if cipher is None or not suite.startswith("TLS_"):
        return None
    encryption, encryption_bits = _CIPHERS[cipher]
    integrity, integrity_bits = _integrity(rest)
    exchange, authentication = _exchange(match["exchange"]) if match else ("ECDHE or DHE", "not known")
    key = None if certificate is None else _key_of(certificate)
    return SuiteAlgorithms(
        encryption=encryption,
        encryption_bits=encryption_bits,
        authentication=key[0] if key else authentication,
        authentication_bits=key[1] if key else None,
        integrity=integrity,
        integrity_bits=integrity_bits,
        key_exchange=exchange,
        key_exchange_bits=key_exchange_bits,
    )


def _integrity(rest: str) -> tuple[str, int | None]:
    mode = next((mode for mode in _TAGS if f"_{mode}" in rest), None)
    if mode is not None:
        return ("Poly1305" if mode == "POLY1305" else mode.replace("_8", "-8")), _TAGS[mode]
    return _HASHES.get(rest.rpartition("_")[2], ("unknown", None))


def _exchange(name: str) -> tuple[str, str]:
    exchange, _, authentication = name.partition("_")
    return exchange, authentication or exchange


def _key_of(certificate: x509.Certificate) -> tuple[str, int | None]:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    return ("ECDSA", key.curve.key_size) if isinstance(key, ec.EllipticCurvePublicKey) else ("not known", None)
