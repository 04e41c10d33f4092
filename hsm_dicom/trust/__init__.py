"""Certificate validation: whether a certificate may be used for a purpose, now or at a past time.

    from hsm_dicom.trust import CertificatePurpose, CertificateValidator, TrustStore

    validator = CertificateValidator(TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"]))
    verdict = validator.validate(certificate, CertificatePurpose.SIGNING, validation_time=signed_at)
    print(verdict.trust, verdict.text)

| module              | contents                                                                             |
|---------------------|--------------------------------------------------------------------------------------|
| `validator`         | `CertificateValidator`, which caches its results for as long as they are valid       |
| `store`             | `TrustStore`: anchors, intermediates, CRLs, OCSP responses, from files               |
| `policy`            | `CertificatePurpose`, `Policy`, `AlgorithmPolicy`, `RevocationPolicy`                |
| `result`            | `TrustVerdict` and its parts                                                         |
| `validation`        | one certificate validation, without a clock or a cache                               |
| `paths`             | candidate paths, within bounds                                                       |
| `chain`             | RFC 5280 6.1 along a path                                                            |
| `usage`             | key usage and extended key usage for each purpose                                    |
| `algorithms`        | keys and hashes against the policy                                                   |
| `roles`             | which roles a certificate cannot fill: TLS client, TLS server, signing               |
| `revocation`        | `crl`, `ocsp`: evidence of one CRL or OCSP response; `decision`: the status          |
| `review`            | problems that block every peer, now or soon: expired anchors, unusable CRLs          |
| `online`, `fetch`   | fetching missing issuers, CRLs and OCSP responses, within bounds                     |
| `clock`             | the time at which validity is judged, also after the system clock was set back      |
| `certificate_files` | PEM, DER and PKCS#7 files, and the order of a chain                                  |
| `certificates`      | reading untrusted certificates, and their names for display                          |
| `errors`            | errors of trust files that cannot be read, and of fetching                           |
| `der`               | the only module that parses DER bytes itself, by asn1crypto                          |
| `_certvalidator`    | the only module that imports pyhanko-certvalidator                                   |
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
