"""Why a signature was not made, or not removed. (A signature that does not verify is a result, not an error.)"""

from __future__ import annotations

from hsm_dicom.errors import DicomError


class SignatureError(DicomError):
    """Root of the errors of this package."""


class UnknownMacAlgorithmError(SignatureError):
    """The MAC algorithm is none of the six of PS3.3."""


class WeakMacAlgorithmError(SignatureError):
    """MD5, SHA-1 or RIPEMD-160 was asked for without being allowed explicitly."""

    default_remedy = "Use SHA-256, SHA-384 or SHA-512, or allow a weak algorithm explicitly."


class NotSignableError(SignatureError):
    """An attribute was asked for that is absent, or that PS3.3 C.12.1.1.3.1.1 bars from signatures."""


class UncoveredContentError(SignatureError):
    """The object's identity or content cannot be signed (PS3.3 C.12.1.1.3.1.1), and leaving it open was not allowed."""


class AmbiguousPixelDataError(NotSignableError):
    """Encapsulated Pixel Data could be turned into other content under the same signature."""


class ProfileError(SignatureError):
    """The object, the key or the request does not fit the signature profile (PS3.15 Annex C)."""


class MissingPurposeError(ProfileError):
    """The profile demands a Digital Signature Purpose (PS3.3 C.12.1.1.3), and the request has none."""

    default_remedy = "Add a purpose."


class KeyMismatchError(SignatureError):
    """The key does not belong to the certificate, or is of a kind that no DICOM signature can use."""


class NoSuchSignatureError(SignatureError):
    """No signature has this Digital Signature UID, or no Item is at this place."""


class ResumeConflictError(SignatureError):
    """Where an earlier run's result would be, there is something else: another object, state or signature."""


class QuestionedObjectError(SignatureError):
    """The object may not be what its signatures were made for, so nothing is added to them or removed."""
