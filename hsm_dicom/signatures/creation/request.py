"""What is asked of a signature: by whom, under which profile, over what, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.dataset.tags import Path
from hsm_dicom.signatures.errors import MissingPurposeError, ProfileError
from hsm_dicom.signatures.profiles.purposes import CODING_SCHEME, PURPOSES, VERIFICATION
from hsm_dicom.signatures.profiles.rules import Profile, is_purpose_allowed
from hsm_dicom.signatures.read import Purpose


@dataclass(frozen=True)
class SigningRequest:
    """What is to be signed, how, and whose certificate goes with it.

    ``certificate`` is an x509.Certificate or its DER. ``tags`` None signs everything signable; with a list, the tags
    that the profile demands are added. ``item`` is the place of an Item to sign in; () is the main Data Set. The
    signature of an Item fits its content wherever that stands, in another object too. ``purpose`` is a code of CID
    7007. Weak hashes (MD5, SHA-1, RIPEMD-160) need ``allow_weak``. An object whose identity or content cannot be signed
    as asked, because it is or holds elements of VR UN, needs ``allow_uncovered``. With ``repair``, a clean copy is
    signed of a file that is refused as it is (`hsm_dicom.dataset.repair.copy`). With ``trim_padding``, a copy without
    surplus padding in strings is signed where there is some (`hsm_dicom.dataset.repair.padding`).
    """

    certificate: bytes | x509.Certificate
    profile: Profile = Profile.BASE
    mac: str = "SHA256"
    tags: tuple[int, ...] | None = None
    item: Path = ()
    purpose: int | None = None
    allow_weak: bool = False
    allow_uncovered: bool = False
    repair: bool = False
    trim_padding: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.profile, Profile):
            raise TypeError(f"profile must be a Profile, such as Profile.CREATOR, not {type(self.profile).__name__}.")
        if isinstance(self.certificate, x509.Certificate):  # which cannot be pickled
            object.__setattr__(self, "certificate", self.certificate.public_bytes(Encoding.DER))
        elif not isinstance(self.certificate, bytes):
            raise TypeError(
                f"certificate must be an x509.Certificate or its DER as bytes, not {type(self.certificate).__name__}."
            )

    @property
    def certificate_der(self) -> bytes:
        """The certificate in DER."""
        return cast(bytes, self.certificate)


def choose_purpose(request: SigningRequest) -> Purpose | None:
    """The purpose that a signature of this request has. Raises ProfileError if its profile wants another one."""
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
