"""An identity: a private key, its certificate, and the certificates above it, proven to belong together.

    with load_identity("node", configuration) as node:
        signature = node.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        node.certificate.public_key().verify(...)

The key stays on its token. A private key in a file is used only if the configuration contains its path and
`allow = ["file-key"]`. Such a key can be copied without a trace, so allowing it is a decision that an auditor must be
able to read in the configuration; there is no option for it.

| module     | holds                                                                                 |
|------------|---------------------------------------------------------------------------------------|
| `record`   | The identity itself: a key that may be used as the subject of its certificate         |
| `opening`  | Find an identity in the configuration, and open it                                    |
| `files`    | Certificates and private keys in files                                                |
| `validity` | The dates of certificates: which of several to use, and which to warn about or refuse |
| `errors`   | A key, certificate or chain that is missing, unreadable or does not fit               |
"""

from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.identity.files import PrivateKey, read_certificates, read_key_file
from hsm_dicom.identity.opening import (
    IdentityAccess,
    find_identity,
    find_identity_access,
    load_identity,
    locate_key,
    open_identity,
)
from hsm_dicom.identity.record import Identity
from hsm_dicom.identity.validity import (
    EXPIRY_WARNING,
    ExpiryRemark,
    choose_certificate,
    find_expiry_remark,
    require_current,
)

__all__ = [
    "EXPIRY_WARNING",
    "ExpiryRemark",
    "Identity",
    "IdentityAccess",
    "IdentityError",
    "PrivateKey",
    "choose_certificate",
    "find_expiry_remark",
    "find_identity",
    "find_identity_access",
    "load_identity",
    "locate_key",
    "open_identity",
    "read_certificates",
    "read_key_file",
    "require_current",
]
