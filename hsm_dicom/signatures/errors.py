"""Errors of making and removing signatures. A signature that does not verify is a result, not an error."""

from __future__ import annotations

from hsm_dicom.errors import DicomError


class SignatureError(DicomError):
    """Base of the errors of this package."""


class UnknownMacAlgorithmError(SignatureError):
    """The MAC algorithm is not one of the six of PS3.3 C.12.1.1.3."""


class MacNotOfferedError(SignatureError):
    """Python's OpenSSL does not have the hash of a MAC algorithm, as RIPEMD-160 in FIPS mode."""

    default_remedy = "Use SHA-256, SHA-384 or SHA-512, or an OpenSSL that is not in FIPS mode."


class WeakMacAlgorithmError(SignatureError):
    """The request has MD5, SHA-1 or RIPEMD-160, and does not allow weak algorithms explicitly."""

    default_remedy = "Use SHA-256, SHA-384 or SHA-512, or allow a weak algorithm explicitly."


class NotSignableError(SignatureError):
    """A requested attribute is absent, or PS3.3 C.12.1.1.3.1.1 excludes it from signatures."""


class ItemLikeObjectError(NotSignableError):
    """The signature of an Item would also fit an object that consists of the Item's content (PS3.3 C.12.1.1.3.1.2)."""

    default_remedy = "Sign the main Data Set, or choose elements without SOP Instance UID."


class UncoveredContentError(SignatureError):
    """The object's identity or content cannot be signed (PS3.3 C.12.1.1.3.1.1), and the request does not allow that."""

    default_remedy = "To sign the other elements only, set allow_uncovered."


class SignaturesLostError(SignatureError):
    """A copy without surplus padding would break signatures that the object has already."""

    default_remedy = "Sign the object without trim_padding."


class AmbiguousPixelDataError(NotSignableError):
    """Encapsulated Pixel Data can be changed into other content without breaking the signature."""


class ProfileError(SignatureError):
    """The object, the key or the request does not fit the signature profile (PS3.15 Annex C)."""


class MissingPurposeError(ProfileError):
    """The profile requires a Digital Signature Purpose (PS3.3 C.12.1.1.3), and the request has none."""

    default_remedy = "Add a purpose."


class KeyMismatchError(SignatureError):
    """The key does not belong to the certificate, or DICOM signatures cannot use its type."""


class NoSuchSignatureError(SignatureError):
    """No signature has this Digital Signature UID, or the object has no Item at this place."""


class NoSingleSignatureError(SignatureError):
    """No signature fits the request, or several do."""


class AmbiguousSignatureError(NoSingleSignatureError):
    """The object has several signatures, and the caller chose none."""

    default_remedy = "Choose one by its UID."


class ResumeConflictError(SignatureError):
    """The target is not the result of an earlier run: it is another object, another state or has another signature."""

    default_remedy = "Choose another target, or allow it to be overwritten."


class SignedInPlaceError(ResumeConflictError):
    """The file has a signature by the same certificate already, but not the requested one."""

    default_remedy = "To add another signature, sign without resume."


class QuestionedObjectError(SignatureError):
    """The object may not be what its signers signed, so its signatures are not changed."""
