"""Identities: a private key, its certificate and its chain, with a check that key and certificate match.

    with load_identity("node", configuration) as node:
        signature = node.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        node.certificate.public_key().verify(...)

The key stays on its token. A private key in a file is used only if the configuration contains its path and
`allow = ["file-key"]`. Such a key can be copied without a trace. There is no command-line option for it, so that an
auditor can find every such key in the configuration.

| module     | holds                                                                                 |
|------------|---------------------------------------------------------------------------------------|
| `record`   | `Identity`: a private key with its certificate and chain                              |
| `opening`  | Find an identity in the configuration, and open it                                    |
| `key_uses` | Which identities of a configuration use a key on a token                              |
| `chains`   | Certificates of CAs in chain files and on tokens                                      |
| `siblings` | A key and a certificate of its own on each of several tokens                          |
| `assembly` | Make an identity of a key and its certificate                                         |
| `files`    | Certificates and private keys in files                                                |
| `validity` | Validity periods of certificates: selection, warnings and refusals                    |
| `succession` | The successor of an identity, and the day from which it signs                       |
| `errors`   | Errors: a key, certificate or chain is missing, unreadable or does not match          |
"""

from hsm_dicom.identity.chains import find_stored_chain, read_chain_files, read_token_chains
from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.identity.files import PrivateKey, order_certificates, read_certificates, read_key_file
from hsm_dicom.identity.opening import (
    IdentityAccess,
    find_identity,
    find_identity_access,
    load_identity,
    locate_key,
    open_identity,
)
from hsm_dicom.identity.record import Identity
from hsm_dicom.identity.succession import Stage, Succession, Use, choose_identity, find_successions
from hsm_dicom.identity.validity import (
    EXPIRY_WARNING,
    CertificateState,
    ExpiryRemark,
    choose_certificate,
    find_expiry_remark,
    find_states,
    require_current,
    require_unexpired,
)

__all__ = [
    "EXPIRY_WARNING",
    "CertificateState",
    "ExpiryRemark",
    "Identity",
    "IdentityAccess",
    "IdentityError",
    "PrivateKey",
    "Stage",
    "Succession",
    "Use",
    "choose_certificate",
    "choose_identity",
    "find_expiry_remark",
    "find_identity",
    "find_identity_access",
    "find_states",
    "find_stored_chain",
    "find_successions",
    "load_identity",
    "locate_key",
    "open_identity",
    "order_certificates",
    "read_certificates",
    "read_chain_files",
    "read_key_file",
    "read_token_chains",
    "require_current",
    "require_unexpired",
]
