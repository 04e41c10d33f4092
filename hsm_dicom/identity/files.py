"""Certificates and private keys in files."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm_dicom.config.permissions import find_read_risk
from hsm_dicom.identity.errors import CertificateFileError
from hsm_dicom.trust import TrustFileError, read_certificate_file
from tokens.certificates import CertificateUnreadableError, load_certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read all certificates of a PEM, DER or PKCS#7 file, in file order. Raises `CertificateFileError`."""
    try:
        return tuple(load_certificate(part.der) for part in read_certificate_file(path, _content(path)))
    except CertificateUnreadableError as error:
        raise CertificateFileError(
            f"{path} holds no certificate that can be read: it {error}. A certificate is named as a PEM file "
            "(-----BEGIN CERTIFICATE-----), in DER, or in PKCS#7."
        ) from error
    except TrustFileError as error:
        raise CertificateFileError(
            f"{path} holds no certificate that can be read; name a PEM file (-----BEGIN CERTIFICATE-----)."
        ) from error


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
