"""Signed files to validator: one CA, one signer, one time stamp authority, and images that pydicom ships."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file

from hsm_dicom.dataset import DicomFile
from hsm_dicom.signatures import Profile, SigningRequest, VerifiedFile, check_integrity, sign
from hsm_dicom.timestamps.protocol import extract_token, make_request
from hsm_dicom.trust import Sourced, TrustStore
from hsm_dicom.validation.policies.policy import VerificationPolicy
from hsm_dicom.validation.validator import SignatureVerdict, Validator, Verdict
from tests.hsm_dicom.dataset.samples import bare_copy
from tests.pki import Authority, Identity, new_key
from tests.pki.openssl_tsa import OpensslTsa

STAMPING: dict[str, Any] = {
    "extended": ["1.3.6.1.5.5.7.3.8"],
    "extended_critical": True,
    "usages": ("digital_signature",),
}

CA = Authority("Hospital CA", key=new_key("rsa2048", 1))
SIGNER = CA.issue("CT room", key=new_key("rsa2048", 2))
TIME_CA = Authority("Time CA", key=new_key("rsa2048", 3))
STAMPER = TIME_CA.issue("Time unit", key=new_key("rsa2048", 4), **STAMPING)

PATIENT_ID, SOP_INSTANCE, PIXELS, CHARACTER_SET = 0x00100020, 0x00080018, 0x7FE00010, 0x00080005
MANUFACTURER = 0x00080070
IDENTITY_TAGS = (0x00080016, SOP_INSTANCE, 0x00100010, PATIENT_ID, 0x00100030, 0x0020000D, 0x0020000E)


def image(name: str = "CT_small.dcm") -> Path:
    """An image of pydicom's."""
    return Path(str(get_testdata_file(name)))


def everything_but(source: Path | str, *left_out: int) -> tuple[int, ...]:
    """The tags of all that can be signed of a file, or of an image of this name, but for some."""
    with DicomFile.open(source if isinstance(source, Path) else image(source)) as file:
        return tuple(sorted(file.main.signable_tags - set(left_out)))


@dataclass
class Desk:
    """A folder in which files are signed."""

    folder: Path
    count: int = field(default=0)

    def sign(
        self,
        source: Path | str = "CT_small.dcm",
        signer: Identity = SIGNER,
        profile: Profile = Profile.BASE,
        *,
        stamper: Identity | None = None,
        **wishes: Any,
    ) -> Path:
        """Sign a file, or an image of this name; a `stamper` stamps the signature."""
        self.count += 1
        target = self.folder / f"{self.count}.dcm"
        path = source if isinstance(source, Path) else self.clean(source)
        stamp = None if stamper is None else self.stamp_by(stamper)
        sign(path, target, signer.key, SigningRequest(signer.der, profile, **wishes), timestamp=stamp)
        return target

    def clean(self, name: str) -> Path:
        """An image of pydicom's without its preamble and trailing padding, which no signature can cover."""
        path = self.folder / f"clean-{name}"
        return path if path.exists() else bare_copy(image(name), path)

    def stamp_by(self, stamper: Identity) -> Any:
        """A function that gets a time stamp from OpenSSL."""
        authority = OpensslTsa(self.folder / f"tsa-{stamper.serial}", TIME_CA, stamper)

        def stamp(signature: bytes) -> bytes:
            request = make_request(signature)
            return extract_token(authority.reply(request.der), request)

        return stamp

    def verified(self, *arguments: Any, **wishes: Any) -> VerifiedFile:
        """Sign and verify."""
        return check_integrity(self.sign(*arguments, **wishes))


def validator(
    *, crls: bool = True, stamp_crls: bool = True, revoked: Any = (), stamper_revoked: bool = False, **policy: Any
) -> Validator:
    """A validator who trusts both CAs, has their CRLs, and follows a policy."""
    of_signers = [Sourced(CA.crl(revoked), "ca.crl")] if crls else []
    of_stampers = [Sourced(TIME_CA.crl([STAMPER] if stamper_revoked else []), "time.crl")] if stamp_crls else []
    return Validator.from_stores(
        TrustStore([CA.certificate], crls=of_signers),
        timestamp_authorities=TrustStore([TIME_CA.certificate], crls=of_stampers),
        policy=VerificationPolicy(**policy),
    )


def only(verdict: Verdict) -> SignatureVerdict:
    """The verdict on the one signature of a file."""
    (one,) = verdict.signatures
    return one


def codes(verdict: SignatureVerdict) -> list[str]:
    """The codes of its grounds."""
    return [ground.code for ground in verdict.grounds]
