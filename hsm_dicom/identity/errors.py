"""Errors of identities: a key, certificate or chain is missing, unreadable or does not match."""

from __future__ import annotations

from hsm_dicom.errors import DicomError


class IdentityError(DicomError):
    """A key, certificate and chain cannot be used as an identity."""


class CertificateMismatchError(IdentityError):
    """The certificate is for another key."""


class NoRequestError(IdentityError):
    """The key cannot sign a request for its certificate."""


class CertificateExpiredError(IdentityError):
    """The certificate is not valid now, so relying parties would not trust its signatures."""

    default_remedy = "Have a new certificate issued."


class CertificateNotYetValidError(CertificateExpiredError):
    """The validity period of the certificate has not begun."""

    default_remedy = "Use a certificate that is valid now, or check the clock."


class NoCertificateError(IdentityError):
    """No certificate is stored with the key."""

    default_remedy = "Give the certificate as a file."


class NoTokenCertificateError(NoCertificateError):
    """No certificate is stored with the key on its token, which could store one."""

    default_remedy = "Store the certificate on the token, or give it as a file."


class CertificateFileError(IdentityError):
    """A certificate or key file cannot be read, or contains other data."""
