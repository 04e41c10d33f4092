"""The signature profiles of PS3.15 Annex C: what each requires of key, request and coverage."""

from __future__ import annotations

from enum import Enum

from cryptography.hazmat.primitives.asymmetric import rsa

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.tags import describe_tag, is_private
from hsm_dicom.signatures.profiles.purposes import CODING_SCHEME, VERIFICATION
from hsm_dicom.signatures.profiles.tables import MODULES
from hsm_dicom.signatures.read import Purpose, SignatureItem


class Profile(Enum):
    """A profile; the value is its name on a command line and in reports."""

    NONE = "none"
    BASE = "base"
    CREATOR = "creator"
    AUTHORIZATION = "authorization"
    SR = "sr"
    SR_VERIFICATION = "sr-verification"


SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
INSTANCE_CREATION = frozenset((0x00080012, 0x00080013))
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
CREATOR_VERSION_UID = 0x00089123
VALUE_TYPE, CONCEPT_NAME, CONTENT = 0x0040A040, 0x0040A043, 0x0040A730
VERIFICATION_FLAG = 0x0040A493
VERIFYING_OBSERVER = 0x0040A073

_INSTANCE = frozenset((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))
_REPORT = frozenset((SOP_CLASS_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))
_EVIDENCE = frozenset((0x0040A375, 0x0040A385, 0x0040A360, 0x0040A032))
_NOT_FOR_AUTHORIZATION = ("General Equipment", "Tractography Results", "Microscopy Bulk Simple Annotations")


def _attributes(*left_out: str) -> frozenset[int]:
    """All attributes of all modules but those left out, in all repeating groups: 6000-601E, 5000-501E (PS3.5 7.6)."""
    tags = {tag for name, module in MODULES.items() if name not in left_out for tag in module}
    repeating = {tag for tag in tags if tag >> 16 in (0x5000, 0x6000)}
    return frozenset(tags | {tag + (group << 16) for tag in repeating for group in range(0, 0x20, 2)})


DEMANDED: dict[Profile, frozenset[int]] = {
    Profile.CREATOR: _INSTANCE,
    Profile.AUTHORIZATION: _INSTANCE,
    Profile.SR: _REPORT,
    Profile.SR_VERIFICATION: _REPORT | {SOP_INSTANCE_UID, VERIFICATION_FLAG, VERIFYING_OBSERVER},
}
"""Attributes that must be there and be covered."""

REQUIRED_IF_PRESENT: dict[Profile, frozenset[int]] = {
    Profile.CREATOR: INSTANCE_CREATION | _attributes(),
    Profile.AUTHORIZATION: _attributes(*_NOT_FOR_AUTHORIZATION),
    Profile.SR: _EVIDENCE | MODULES["General Equipment"] | MODULES["SR Document Content"],
    Profile.SR_VERIFICATION: _EVIDENCE | MODULES["General Equipment"] | MODULES["SR Document Content"],
}
"""Attributes that must be covered where they are there and can be signed."""


def find_required_tags(profile: Profile, level: DataSet) -> frozenset[int]:
    """Return the tags that a signature of this profile must list: DEMANDED, and the present REQUIRED_IF_PRESENT."""
    if_present = REQUIRED_IF_PRESENT.get(profile, frozenset())
    demanded = DEMANDED.get(profile, frozenset()) | (level.signable_tags & if_present)
    if profile in (Profile.CREATOR, Profile.AUTHORIZATION) and CREATOR_VERSION_UID in level:
        # Raw Data may keep everything that matters in private attributes (PS3.3 C.19.1): DCMTK requires these too.
        demanded |= set(filter(is_private, level.signable_tags))
    return demanded


def find_object_shortcomings(profile: Profile, file: DicomFile, level: DataSet) -> list[str]:
    """Why this object cannot carry a signature of the profile, as sentences; empty if it can."""
    found: list[str] = []
    if profile in (Profile.NONE, Profile.BASE):
        return found
    if level.path:
        return ["The profile is for signatures of the main Data Set, not of an Item."]
    for tag in sorted(DEMANDED[profile]):
        element = level.get(tag)
        if element is None or not element.signable:
            found.append(f"{describe_tag(tag)}, which the profile requires, is missing or cannot be signed.")
    if profile in (Profile.SR, Profile.SR_VERIFICATION) and not all(
        tag in level for tag in (VALUE_TYPE, CONCEPT_NAME, CONTENT)
    ):
        found.append("The object is not a Structured Report: it has no root content item.")
    if profile is Profile.SR_VERIFICATION and not _is_verified(file, level):
        found.append("Verification Flag (0040,A493) is not VERIFIED.")
    return found


def is_purpose_allowed(profile: Profile, purpose: Purpose | None) -> bool:
    """Whether a signature of this profile may have this purpose: those of reports need one (PS3.15 C.4)."""
    if profile is Profile.SR_VERIFICATION:
        return purpose is not None and (purpose.code, purpose.scheme) == (str(VERIFICATION), CODING_SCHEME)
    return purpose is not None or profile is not Profile.SR


def find_profiles_met(file: DicomFile, item: SignatureItem, key: object) -> tuple[Profile, ...]:
    """Return the profiles that an intact signature meets, whichever its signer requested."""
    if not isinstance(key, rsa.RSAPublicKey) or item.mac is None:
        return ()
    listed = set(item.mac.tags)
    return tuple(
        profile
        for profile in Profile
        if profile is not Profile.NONE
        and is_purpose_allowed(profile, item.purpose)
        and find_required_tags(profile, item.level) <= listed
        and not find_object_shortcomings(profile, file, item.level)
    )


def _is_verified(file: DicomFile, level: DataSet) -> bool:
    flag = level.get(VERIFICATION_FLAG)
    return flag is not None and flag.end - flag.value <= 16 and file.value(flag).strip(b" ") == b"VERIFIED"
