"""Certificates and private keys in files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm_dicom.config.permissions import find_read_risk
from hsm_dicom.identity.errors import CertificateFileError
from hsm_dicom.trust import TrustFileError, order_chain, read_certificate_file
from tokens.certificates import CertificateUnreadableError, load_certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_REQUEST = re.compile(rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03\x30", re.DOTALL)
"""The beginning of a PFX (RFC 7292, 4): a sequence, its version 3, and another sequence."""


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read all certificates of a PEM, DER or PKCS#7 file, in file order. Raises `CertificateFileError`."""
    content = _content(path)
    if _PKCS12.match(content):
        raise CertificateFileError(
            f"{path} is a PKCS#12 file, which is made for a private key outside a token, so it is not read. Extract "
            f"its certificates: openssl pkcs12 -in {path} -nokeys -out certificates.pem"
        )
    try:
        return tuple(load_certificate(part.der) for part in read_certificate_file(path, content))
    except CertificateUnreadableError as error:
        raise CertificateFileError(
            f"{path} holds no certificate that can be read: it {error}. A certificate is named as a PEM file "
            "(-----BEGIN CERTIFICATE-----), in DER, or in PKCS#7."
        ) from error
    except TrustFileError as error:
        raise CertificateFileError(_explain_no_certificate(path, content)) from error


def _explain_no_certificate(path: Path, content: bytes) -> str:
    """Return what a file holds instead of a certificate, and what to name."""
    if _REQUEST.search(content):
        return f"{path} is a certificate request. Send it to the CA, and name the certificate that the CA issues."
    if _PRIVATE_KEY.search(content):
        return f"{path} holds a private key and no certificate. Name the file with the certificate."
    return f"{path} holds no certificate that can be read; name a PEM file (-----BEGIN CERTIFICATE-----)."


def order_certificates(certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return a certificate and its chain, from the one that issued no other upwards. Repetitions are left out.

    Raises `CertificateFileError` if not all of them belong to one chain.
    """
    ordered = [((one, *chain), others) for one in certificates for chain, others in [order_chain(one, certificates)]]
    complete = [chain for chain, others in ordered if not others]
    if not complete:
        _, others = min(ordered, key=lambda each: len(each[1]))
        strangers = ", ".join(f"'{one.subject.rfc4514_string()}'" for one in others)
        raise CertificateFileError(
            f"These certificates are not one chain: {strangers} issued none of the others, nor did they issue it. Give "
            "the certificate of the key, and of its issuers only."
        )
    return complete[0]


def read_key_file(path: Path) -> PrivateKey:
    """Read an RSA or EC private key from an unencrypted PEM file that only its owner can read."""
    data = _content(path)
    unsafe = find_read_risk(path)
    if unsafe:
        raise CertificateFileError(" ".join(unsafe))
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise CertificateFileError(
            f"The private key in {path} is encrypted, and a passphrase is not served: put the key on a token."
        ) from error
    except ValueError as error:
        raise CertificateFileError(f"{path} holds no private key in PEM form.") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateFileError(f"The private key in {path} is neither RSA nor EC; no DICOM profile uses it.")
    return key


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateFileError(f"{path} cannot be read ({error.strerror}).") from error
