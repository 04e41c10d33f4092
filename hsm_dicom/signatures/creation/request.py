"""Signing requests: the certificate, the profile, the elements, and the purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.errors import MissingPurposeError, ProfileError
from hsm_dicom.signatures.profiles.purposes import CODING_SCHEME, PURPOSES, VERIFICATION
from hsm_dicom.signatures.profiles.rules import Profile, is_purpose_allowed
from hsm_dicom.signatures.read import Purpose


@dataclass(frozen=True)
class SigningRequest:
    """Request for one signature: the elements to sign, the method, and the signer's certificate.

    ``certificate`` is an x509.Certificate or its DER. ``tags`` None signs all signable elements; a list is extended
    with the tags that the profile requires. ``item`` is the path of the Item to sign; () is the main Data Set. The
    signature of an Item fits its content at any place, also in another object. ``purpose`` is a code of CID 7007.
    Weak hashes (MD5, SHA-1, RIPEMD-160) need ``allow_weak``. An object whose identity or content cannot be signed
    as requested, because it is or holds elements of VR UN, needs ``allow_uncovered``. ``repair`` signs a clean copy
    of a file that cannot be signed as it is (`hsm_dicom.dataset.repair.copy`). ``trim_padding`` signs a copy without
    surplus padding if strings have any (`hsm_dicom.dataset.repair.padding`).
    """

    certificate: bytes | x509.Certificate
    profile: Profile = Profile.BASE
    mac: str = "SHA256"
    tags: tuple[int, ...] | None = None
    item: ItemPath = ()
    purpose: int | None = None
    allow_weak: bool = False
    allow_uncovered: bool = False
    repair: bool = False
    trim_padding: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.profile, Profile):
            raise TypeError(f"profile must be a Profile, such as Profile.CREATOR, not {type(self.profile).__name__}.")
        if isinstance(self.certificate, x509.Certificate):  # cannot be pickled
            object.__setattr__(self, "certificate", self.certificate.public_bytes(Encoding.DER))
        elif not isinstance(self.certificate, bytes):
            raise TypeError(
                f"certificate must be an x509.Certificate or its DER as bytes, not {type(self.certificate).__name__}."
            )

    @property
    def certificate_der(self) -> bytes:
        """Signer's certificate in DER."""
        return cast(bytes, self.certificate)


def choose_purpose(request: SigningRequest) -> Purpose | None:
    """Return the purpose of the requested signature. Raises ProfileError if the profile requires another one."""
    code = request.purpose
    if code is None and request.profile is Profile.SR_VERIFICATION:
        code = VERIFICATION
    if code is not None and code not in PURPOSES:
        raise ProfileError(f"{code} is not a purpose of CID 7007; use a number from 1 to {max(PURPOSES)}.")
    purpose = None if code is None else Purpose(str(code), CODING_SCHEME, PURPOSES[code])
    if not is_purpose_allowed(request.profile, purpose):
        if request.profile is Profile.SR_VERIFICATION:
            raise ProfileError(
                f"The profile sr-verification needs the purpose {VERIFICATION}, {PURPOSES[VERIFICATION]}."
            )
        raise MissingPurposeError(f"The profile {request.profile.value} needs a purpose.")
    return purpose
