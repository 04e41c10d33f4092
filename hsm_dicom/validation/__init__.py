"""The verdict: who signed, when, whether they were allowed to, and what the signature covers.

    from hsm_dicom.validation import verify

| module         | one idea                                                                         |
|----------------|----------------------------------------------------------------------------------|
| `verification` | `verify` and `verify_files`: from files and trust anchors to verdicts            |
| `validator`    | `Validator`: from the results of the integrity check to a verdict                |
| `result`       | `Verdict` and its parts, as records                                              |
| `policies`     | `VerificationPolicy` and `PolicyValidator`: what is asked of signatures          |
| `remedies`     | what to do about each code                                                       |
| `etsi`         | verdicts in the words of ETSI EN 319 102-1                                       |
| `coverage`     | what a signature does not cover                                                  |
| `signing_time` | the validation time, from a time stamp or the signer                             |
| `trust`        | what the signer's certificate means for the signature                            |
"""

from hsm_dicom.validation.etsi import EtsiStatus, MainIndication, find_etsi_status, find_etsi_status_of_object
from hsm_dicom.validation.policies.policy import Part, PolicyError, Requirement, VerificationPolicy, load_policy
from hsm_dicom.validation.policies.unmet import find_all_unmet
from hsm_dicom.validation.policies.validator import PolicyValidator, PolicyVerdict
from hsm_dicom.validation.result import (
    Cause,
    Ground,
    Indication,
    Outcome,
    SignatureVerdict,
    UnmetDemand,
    ValidationTime,
    ValidationTimeKind,
    Verdict,
    worst_exit_status,
)
from hsm_dicom.validation.validator import Validator, emit_events, make_unreadable_verdict
from hsm_dicom.validation.verification import verify, verify_files

__all__ = [
    "Cause",
    "EtsiStatus",
    "Ground",
    "Indication",
    "MainIndication",
    "Outcome",
    "Part",
    "PolicyError",
    "PolicyValidator",
    "PolicyVerdict",
    "Requirement",
    "SignatureVerdict",
    "UnmetDemand",
    "ValidationTime",
    "ValidationTimeKind",
    "Validator",
    "Verdict",
    "VerificationPolicy",
    "emit_events",
    "find_all_unmet",
    "find_etsi_status",
    "find_etsi_status_of_object",
    "load_policy",
    "make_unreadable_verdict",
    "verify",
    "verify_files",
    "worst_exit_status",
]
