"""Sign objects: the whole job, with every check around the signature itself.

    from hsm_dicom.signing import sign, sign_files

| module         | one idea                                                                        |
|----------------|---------------------------------------------------------------------------------|
| `objects`      | `sign`: one object, in any form                                                 |
| `files`        | `sign_files`: many files, with workers of its own                               |
| `arguments`    | what a caller may write, checked                                                |
| `checks`       | the time stamp is over the signature; the event about a signature               |
| `batch`        | `sign_jobs`: many files, on any executor                                        |
| `resume`       | what an earlier run has done, found out from the files alone                    |
| `late_stamps`  | time stamps that are added to signatures made before                            |
"""

from hsm_dicom.signing.arguments import Signer
from hsm_dicom.signing.batch import SigningJob, SigningOutcome, sign_jobs
from hsm_dicom.signing.checks import check_timestamp
from hsm_dicom.signing.files import sign_files
from hsm_dicom.signing.late_stamps import NoSingleSignatureError, add_timestamp, find_signature, read_reply_for
from hsm_dicom.signing.objects import sign
from hsm_dicom.signing.resume import find_earlier_signature

__all__ = [
    "NoSingleSignatureError",
    "Signer",
    "SigningJob",
    "SigningOutcome",
    "add_timestamp",
    "check_timestamp",
    "find_earlier_signature",
    "find_signature",
    "read_reply_for",
    "sign",
    "sign_files",
    "sign_jobs",
]
