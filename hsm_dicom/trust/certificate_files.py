"""Reading of certificate files: PEM, DER or PKCS#7 (P7B), with one or several certificates in any order.

certificates = read_certificate_file(Path("chain.p7b"))
chain, others = order_chain(certificate, certificates)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from hsm_dicom.trust.certificates import fingerprint
from hsm_dicom.trust.der import content_type
from hsm_dicom.trust.errors import TrustFileError

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = b"CERTIFICATE"
_PKCS7 = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
_SIGNED_DATA = "1.2.840.113549.1.7.2"
"""The content type SignedData (RFC 5652 5.1)."""


@dataclass(frozen=True)
class Sourced:
    """DER bytes and their source, in words."""

    der: bytes
    source: str


def read_certificate_file(path: Path, data: bytes) -> list[Sourced]:
    """Return the DER of every certificate in the content of a file, in the file's order.

    `data` is PEM with any number of certificates, one DER certificate, or PKCS#7 signed data (RFC 5652) as PEM or
    DER; `path` is for messages. The caller checks whether each is a valid certificate. Raises
    `TrustFileError`, with the file and the remedy.
    """
    if b"-----BEGIN " not in data:
        return _certificates_in(Sourced(data, str(path)))
    blocks = read_pem_blocks(path, data, (_CERTIFICATE, *_PKCS7))
    return [certificate for block in blocks for certificate in _certificates_in(block)]


def read_pem_blocks(path: Path, data: bytes, labels: Sequence[bytes]) -> list[Sourced]:
    """Return the content of every PEM block with one of the labels. Raises `TrustFileError` if there is none."""
    blocks = [match for match in _PEM.finditer(data) if match.group(1) in labels]
    if not blocks:
        found = ", ".join(sorted({m.group(1).decode() for m in _PEM.finditer(data)})) or "nothing complete"
        raise TrustFileError(f"{path}: holds no {labels[0].decode()} but {found}. Give a PEM or DER file with one.")
    return [_from_pem(block.group(0), path, number) for number, block in enumerate(blocks, start=1)]


def order_chain(
    certificate: x509.Certificate, certificates: Iterable[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """Order certificates from the issuer of `certificate` upwards.

    Returns the chain, and the certificates that have no place in it. `certificate` itself, and repetitions, are left
    out of both.
    """
    left = {fingerprint(one): one for one in certificates}
    left.pop(fingerprint(certificate), None)
    chain: list[x509.Certificate] = []
    below = certificate
    while issuer := next((one for one in left.values() if _is_issuer(one, below)), None):
        chain.append(left.pop(fingerprint(issuer)))
        below = issuer
    return tuple(chain), tuple(left.values())


def _is_issuer(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates_in(part: Sourced) -> list[Sourced]:
    """Return a certificate unchanged, or each certificate of PKCS#7 signed data."""
    if content_type(part.der) != _SIGNED_DATA:
        return [part]
    source = part.source
    try:
        certificates = pkcs7.load_der_pkcs7_certificates(part.der)
        found = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
    except Exception as error:  # the parser raises more than ValueError for hostile bytes
        raise TrustFileError(
            f"{source}: its PKCS#7 data cannot be read. Export the certificates again, as PEM (Base64 X.509)."
        ) from error
    if not found:
        raise TrustFileError(f"{source}: its PKCS#7 data holds no certificate. Export them again, as PEM.")
    return [Sourced(der, f"{source} (certificate {number})") for number, der in enumerate(found, start=1)]


def _from_pem(block: bytes, path: Path, number: int) -> Sourced:
    source = str(path) if number == 1 else f"{path} (number {number})"
    body = b"".join(line for line in block.splitlines()[1:-1])
    try:
        return Sourced(base64.b64decode(body, validate=True), source)
    except ValueError as error:
        raise TrustFileError(f"{source}: its PEM text is damaged. Fetch the file again.") from error
