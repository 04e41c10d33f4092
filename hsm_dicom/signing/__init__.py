"""Sign objects and files, with all checks before and after the signature.

    from hsm_dicom.signing import sign, sign_files

| module         | one idea                                                                        |
|----------------|---------------------------------------------------------------------------------|
| `objects`      | `sign`: one object, in any form                                                 |
| `files`        | `sign_files`: many files, in workers that it starts                             |
| `arguments`    | checks of a caller's arguments                                                  |
| `checks`       | check of a time stamp against its signature; the event about a signature        |
| `batch`        | `sign_jobs`: many files, on any executor                                        |
| `prepared`      | the files of one task, as passed between workers and the process with the key   |
| `insertions`   | sign an object, and return what the signature inserts                          |
| `resume`       | find the files that an earlier run signed, from the files alone                 |
| `late_stamps`  | add time stamps to existing signatures                                          |
"""

from hsm_dicom.signatures.errors import NoSingleSignatureError
from hsm_dicom.signing.arguments import Signer
from hsm_dicom.signing.batch import SigningJob, SigningOutcome, sign_jobs
from hsm_dicom.signing.checks import check_timestamp
from hsm_dicom.signing.files import sign_files
from hsm_dicom.signing.late_stamps import add_timestamp, find_signature, read_reply_for
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
