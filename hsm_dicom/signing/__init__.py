"""Sign many files: read, hash and write them in executors, and keep the key in this process.

    from hsm_dicom.signing import SigningJob, sign_jobs

``batch`` conducts the work; ``resume`` finds out from the files alone what an earlier run has done.
"""

from hsm_dicom.signing.batch import IntegrityOutcome, SigningJob, SigningOutcome, check_files, sign_jobs
from hsm_dicom.signing.resume import find_earlier_signature

__all__ = [
    "IntegrityOutcome",
    "SigningJob",
    "SigningOutcome",
    "check_files",
    "find_earlier_signature",
    "sign_jobs",
]
