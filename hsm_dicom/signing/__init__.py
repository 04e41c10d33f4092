"""Sign many files: read, hash and write them in executors, and keep the key in this process.

    from hsm_dicom.signing import SigningJob, sign_files

``batch`` conducts the work; ``resume`` finds out from the files alone what an earlier run has done.
"""

from hsm_dicom.signing.batch import SigningJob, SigningOutcome, VerificationOutcome, sign_files, verify_files
from hsm_dicom.signing.resume import find_earlier_signature

__all__ = [
    "SigningJob",
    "SigningOutcome",
    "VerificationOutcome",
    "find_earlier_signature",
    "sign_files",
    "verify_files",
]
