"""DICOM security with keys that never leave their device.

    import hsm_dicom

    with hsm_dicom.load_identity("node") as node:
        hsm_dicom.sign("in.dcm", "out.dcm", node, profile="creator")
    verdict = hsm_dicom.verify("out.dcm", trust="ca.pem")
    print(verdict.valid, verdict.signatures[0].text)

| name                              | what it does                                                             |
|-----------------------------------|--------------------------------------------------------------------------|
| `load_identity`                   | opens a key on its device, with its certificate and chain                |
| `sign`, `sign_files`              | signs one object, or many files                                          |
| `verify`, `verify_files`          | gives the verdict on one object, or on many files                        |
| `check_integrity`                 | checks signatures by mathematics alone                                   |
| `Profile`                         | the signature profiles of PS3.15 Annex C                                 |
| `TrustStore`                      | trust anchors, intermediates, CRLs and OCSP responses                    |
| `Policy`                          | what a verdict demands: `hsm_dicom.validation.VerificationPolicy`        |
| `server_context`, `client_context`| `ssl.SSLContext` objects with a key on a device (PS3.15 Annex B)         |
| `Error`                           | the root of every error of `hsm_dicom` and `tokens`                      |

Each name is imported when it is first used. What a package's ``__init__`` does not export is private and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hsm_dicom import product

if TYPE_CHECKING:
    from hsm_dicom.errors import Error
    from hsm_dicom.identity import load_identity
    from hsm_dicom.signatures import Profile, check_integrity
    from hsm_dicom.signing import sign, sign_files
    from hsm_dicom.tls import client_context, server_context
    from hsm_dicom.trust import TrustStore
    from hsm_dicom.validation import VerificationPolicy as Policy
    from hsm_dicom.validation import verify, verify_files

    __version__: str

__all__ = [
    "Error",
    "Policy",
    "Profile",
    "TrustStore",
    "__version__",
    "check_integrity",
    "client_context",
    "load_identity",
    "server_context",
    "sign",
    "sign_files",
    "verify",
    "verify_files",
]

product.introduce()

_HOMES = {
    "Error": ("hsm_dicom.errors", "Error"),
    "Policy": ("hsm_dicom.validation", "VerificationPolicy"),
    "Profile": ("hsm_dicom.signatures", "Profile"),
    "TrustStore": ("hsm_dicom.trust", "TrustStore"),
    "check_integrity": ("hsm_dicom.signatures", "check_integrity"),
    "client_context": ("hsm_dicom.tls", "client_context"),
    "load_identity": ("hsm_dicom.identity", "load_identity"),
    "server_context": ("hsm_dicom.tls", "server_context"),
    "sign": ("hsm_dicom.signing", "sign"),
    "sign_files": ("hsm_dicom.signing", "sign_files"),
    "verify": ("hsm_dicom.validation", "verify"),
    "verify_files": ("hsm_dicom.validation", "verify_files"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("hsm-dicom")
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
