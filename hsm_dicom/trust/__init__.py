"""Certificate validation: whether a certificate may be used for a purpose, now or at a past time.

    from hsm_dicom.trust import CertificatePurpose, CertificateValidator, TrustStore

    validator = CertificateValidator(TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"]))
    verdict = validator.validate(certificate, CertificatePurpose.SIGNING, validation_time=signed_at)
    print(verdict.trust, verdict.text)

| module              | contents                                                                             |
|---------------------|--------------------------------------------------------------------------------------|
| `validator`         | `CertificateValidator`, which keeps its results for as long as they hold             |
| `store`             | `TrustStore`: anchors, intermediates, CRLs, OCSP responses, from files               |
| `policy`            | `CertificatePurpose`, `Policy`, `AlgorithmPolicy`, `RevocationPolicy`                |
| `result`            | `TrustVerdict` and its parts                                                         |
| `validation`        | one validation, from question to answer                                              |
| `paths`             | candidate paths, within bounds                                                       |
| `chain`             | RFC 5280 6.1 along a path                                                            |
| `usage`             | key usage and extended key usage for each purpose                                    |
| `algorithms`        | keys and hashes against the policy                                                   |
| `revocation`        | `decision`: what CRLs and OCSP responses mean together; `crl`, `ocsp`: what one says |
| `review`            | what blocks every peer, now or soon: expired anchors, CRLs that cannot be used       |
| `online`, `fetch`   | fetching missing issuers, CRLs and OCSP responses, within bounds                     |
| `certificate_files` | PEM, DER and PKCS#7 files, and the order of a chain                                  |
| `certificates`      | reading untrusted certificates, and their names for display                          |
| `errors`            | files of trust that cannot be read                                                   |
| `der`               | DER by asn1crypto: the one place where bytes are taken apart                         |
| `_certvalidator`    | the one place that calls pyhanko-certvalidator                                       |
"""

from hsm_dicom.trust.certificate_files import Sourced, order_chain, read_certificate_file
from hsm_dicom.trust.errors import TrustFileError
from hsm_dicom.trust.policy import ARCHIVE, CURRENT, AlgorithmPolicy, CertificatePurpose, Policy, RevocationPolicy
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
from hsm_dicom.trust.validator import CertificateValidator

__all__ = [
    "ARCHIVE",
    "CURRENT",
    "AlgorithmPolicy",
    "Caution",
    "CertificatePurpose",
    "CertificateValidator",
    "PathCertificate",
    "Policy",
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
    "order_chain",
    "read_certificate_file",
    "review_trust",
]
