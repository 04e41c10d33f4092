"""What to do about each code of a verdict, as a sentence. docs/reference/verdict-codes.md has the same sentences."""

from __future__ import annotations

from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.trust import Caution, Reason
from hsm_dicom.validation.result import Cause

UNREADABLE, UNSIGNED = "unreadable", "unsigned"
"""The codes of an object that cannot be read, and of one without a signature."""

_ASK_THE_SENDER = "Ask the sender for the object as it was signed."
_SIGN_ALL = "Have the object signed again without --tag, or with the elements that the sentence names."
_CLOCKS = "Check the clocks of the signer and of this machine."
_DISTRUST = "Do not rely on it."
_TSA = "Give the CA of the time stamping authority with --tsa, or in timestamp_anchors of [trust]"
_REVOCATION_DATA = "a current CRL with --crl or an OCSP response with --ocsp, or name it in [trust], or use --online."

_REMEDIES: dict[str, str] = {
    UNREADABLE: "Check the path and its permissions, or ask the sender for the object again.",
    UNSIGNED: "Have the object signed: hsm-dicom sign. If it was signed once, find out which system removed it.",
    # invalid
    Cause.ALTERED: f"{_ASK_THE_SENDER} Find out which system changed it.",
    Cause.OUTSIDE_VALIDITY: "Have the object signed again with a certificate that is valid.",
    Cause.MAC_REFUSED: (
        "Have the object signed with SHA-256 or stronger, or add the algorithm to weak_mac_algorithms of the policy."
    ),
    Reason.NO_PATH: (
        "Give the certificates between the signer's and the CA's with --intermediate, or in intermediates of [trust]; "
        "or use --online. If another CA certified the signer and you trust it, give that CA with --trust."
    ),
    Reason.REVOKED: "Treat the object as unsigned. Ask the CA for the date and the reason.",
    Reason.EXPIRED: "Have the object signed with a certificate that is valid.",
    Reason.NOT_YET_VALID: _CLOCKS,
    Reason.BAD_SIGNATURE: "Get the certificate from its CA again.",
    Reason.NOT_A_CA: "Treat the signer as unknown, and report it to the CA.",
    Reason.PATH_TOO_LONG: "Ask the CA for a certificate within its own limit.",
    Reason.PATH_INVALID: "Have the certificate reissued.",
    Reason.UNKNOWN_CRITICAL_EXTENSION: "Have the certificate issued without it.",
    Reason.WEAK_HASH: "Have the certificate reissued, or add the hash to weak_certificate_hashes of the policy.",
    Reason.WEAK_KEY: "Have a longer key certified, or lower minimum_rsa_bits of the policy.",
    Reason.WRONG_KEY_USAGE: "Have a certificate with digitalSignature issued for the key.",
    Reason.WRONG_EXTENDED_KEY_USAGE: (
        "Have a certificate for document signing issued, or add the usage to extended_key_usages of the policy."
    ),
    Reason.MALFORMED: "Have it reissued.",
    Reason.TOO_COMPLEX: "Give only the intermediate certificates that are needed.",
    # cannot tell
    Cause.INCOMPLETE: _ASK_THE_SENDER,
    Cause.HASH_NOT_OFFERED: "Verify the object on a machine whose OpenSSL is not in FIPS mode.",
    Reason.NO_ANCHORS: "Give the CA of the signers with --trust, or in anchors of [trust].",
    Reason.REVOCATION_UNKNOWN: f"Give {_REVOCATION_DATA}",
    Cause.TIME_IN_FUTURE: _CLOCKS,
    Reason.CANNOT_BE_EXAMINED: "Mend what the sentence names, and verify again.",
    AnomalyCode.WRAPPED_CONTENT: _ASK_THE_SENDER,
    AnomalyCode.DCMTK_STREAM: "Compare the object with its original, and sign that with another program.",
    # questionable
    Cause.PIXEL_DATA_OPEN: _SIGN_ALL,
    Cause.PICTURE_OPEN: _SIGN_ALL,
    Cause.GEOMETRY_OPEN: _SIGN_ALL,
    Cause.CONTENT_OPEN: _SIGN_ALL,
    Cause.IDENTITY_OPEN: _SIGN_ALL,
    AnomalyCode.FRAGMENTS_JOINED: _ASK_THE_SENDER,
    AnomalyCode.ELEMENTS_SWALLOWED: _ASK_THE_SENDER,
    AnomalyCode.FRAME_COUNT: _ASK_THE_SENDER,
    AnomalyCode.FRAME_COUNT_OPEN: "Have the object signed again with Number of Frames.",
    AnomalyCode.OFFSET_TABLE: _ASK_THE_SENDER,
    AnomalyCode.NO_FRAME: _ASK_THE_SENDER,
    # valid, but
    Cause.ITEM_ONLY: "Have the main Data Set signed to protect the object.",
    Cause.CHARACTER_SET_OPEN: "Have the object signed again with Specific Character Set (0008,0005).",
    Cause.SEEN_OPEN: "Compare them with the source, or have the object signed again without --tag.",
    Cause.PRIVATE_OPEN: "Do not rely on them, or have the object signed again with them.",
    Cause.UNKNOWN_VR_OPEN: "Do not rely on them.",
    Cause.ELEMENTS_OPEN: "Do not rely on them, or have the object signed again without --tag.",
    AnomalyCode.LEVEL_OPEN: "Have the object signed again without --tag.",
    AnomalyCode.FOREIGN_CONTENT: "Ask the sender what they are.",
    AnomalyCode.OUTSIDE_CONTENT: f"{_DISTRUST} Ask the sender what it is.",
    AnomalyCode.PREAMBLE_CONTENT: "Open the file with DICOM programs only.",
    AnomalyCode.FILE_META_CONTENT: _DISTRUST,
    AnomalyCode.FILE_META_DIFFERS: "Rely on the UIDs in the object, and find out which system wrote the file.",
    AnomalyCode.BARE_DATA_SET: "Ask the sender for a file with file meta information (PS3.10).",
    AnomalyCode.OTHER_ENCODING: _ASK_THE_SENDER,
    AnomalyCode.CONVERTED: "Keep signed objects in explicit VR.",
    AnomalyCode.SHARED_UID: "Do not rely on references to it.",
    AnomalyCode.OTHER_CERTIFICATE: "Ask the CA which of the two the signer holds.",
    AnomalyCode.SIGNED_BY_CA: "Ask the signer to use a key for signatures.",
    AnomalyCode.ODD_OFFSET: "Have the signer's clock set right.",
    Caution.SHORT_KEY: "Have a longer key certified.",
    Caution.SELF_SIGNED: "Have the certificate issued by a CA.",
    Caution.REVOCATION_NOT_CHECKED: f"Give {_REVOCATION_DATA}",
    Caution.REVOKED_SINCE: "Read the date and the reason in the sentence; the signature is older.",
    Caution.EXPIRES_SOON: "Have the object time-stamped before that date.",
    Cause.MAC_WEAK: "Have the object signed again with SHA-256.",
    Cause.TIME_MISSING: "Have the object signed with a program that writes one.",
    Cause.TIME_BEHIND_TIMESTAMP: "Rely on the time stamp. Have the signer's clock set right.",
    Cause.EXPIRED_SINCE: "Have objects time-stamped while their certificates are valid.",
    Cause.TIMESTAMP_NOT_VALIDATED: f"{_TSA}.",
    Cause.TIMESTAMP_UNUSABLE: f"If you trust the authority: {_TSA}. Else ask the sender for a new time stamp.",
    Cause.TIMESTAMP_WEAK: "Use an authority with current algorithms.",
    # historic
    Cause.HISTORIC: "Nothing: it is shown and does not count.",
}


def find_remedy(code: str) -> str:
    """Return what to do about a code of a verdict, as a sentence; empty if the code has none."""
    return _REMEDIES.get(code, "")
