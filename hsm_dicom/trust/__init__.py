"""The one place that says whether a certificate may do this, now or at a past time.

    from hsm_dicom.trust import Purpose, TrustStore, Verifier

    verifier = Verifier(TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"]))
    verdict = verifier.judge(certificate, Purpose.SIGNING, moment=signed_at)
    print(verdict.trust, verdict.text)

| module          | holds                                                                                  |
|-----------------|----------------------------------------------------------------------------------------|
| verifier.py     | `Verifier`: judge, and keep answers for as long as they hold                           |
| store.py        | `TrustStore`: anchors, intermediates, CRLs, OCSP responses, from files                 |
| policy.py       | `Purpose`, `Policy`, `AlgorithmPolicy`, `RevocationPolicy`                             |
| verdict.py      | `TrustVerdict` and its parts                                                           |
| judgement.py    | one judgement, from question to answer                                                 |
| paths.py        | candidate paths, within bounds                                                         |
| chain.py        | RFC 5280 6.1 along a path                                                              |
| usage.py        | key usage and extended key usage for each purpose                                      |
| algorithms.py   | keys and hashes against the policy                                                     |
| revocation.py   | what CRLs and OCSP responses together mean; the model is written there                 |
| crl.py, ocsp.py | what one CRL, one OCSP response says                                                   |
| review.py       | what refuses everybody, now or soon: expired anchors, CRLs out of date or unverifiable |
| online.py       | fetching what is missing; fetch.py: one exchange within bounds                         |
| certificate_files.py | PEM, DER and PKCS#7 files, and the order of a chain                                       |
| certificates.py, der.py | reading hostile bytes, showing names                                           |
"""

from hsm_dicom.trust.certificate_files import Sourced, order_chain, read_certificate_file
from hsm_dicom.trust.errors import FetchError, TrustFileError
from hsm_dicom.trust.policy import ARCHIVE, CURRENT, AlgorithmPolicy, Policy, Purpose, RevocationPolicy
from hsm_dicom.trust.result import (
    Caution,
    PathCertificate,
    Reason,
    Revocation,
    RevocationStatus,
    Trust,
    TrustVerdict,
    TrustWarning,
)
from hsm_dicom.trust.review import TrustRemark, review_trust
from hsm_dicom.trust.store import TrustStore
from hsm_dicom.trust.validator import Verifier

__all__ = [
    "ARCHIVE",
    "CURRENT",
    "AlgorithmPolicy",
    "Caution",
    "FetchError",
    "PathCertificate",
    "Policy",
    "Purpose",
    "Reason",
    "Revocation",
    "RevocationPolicy",
    "RevocationStatus",
    "Sourced",
    "Trust",
    "TrustFileError",
    "TrustRemark",
    "TrustStore",
    "TrustVerdict",
    "TrustWarning",
    "Verifier",
    "order_chain",
    "read_certificate_file",
    "review_trust",
]
