"""Sign a folder of files: `sign_folder.py --identity NAME FOLDER`.

Writes SHA256SUMS, the digests of the files, and SHA256SUMS.p7s, a detached CMS signature (RFC 5652) over it with the
certificate and chain of the identity. Anyone verifies both without hsm-dicom, with `openssl cms` and `sha256sum`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

import hsm_dicom
from hsm_dicom.identity import Identity, require_current

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.p7s"


def main() -> None:
    """Sign the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Sign a folder of files with an identity on a token.")
    parser.add_argument("--identity", required=True, help="[identities.NAME] of the configuration")
    parser.add_argument("--config", type=Path, help="the configuration, instead of $HSM_DICOM_CONFIG")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        with hsm_dicom.load_identity(arguments.identity, arguments.config, default_pin="prompt") as identity:
            require_current(identity.certificate)
            sign_folder(arguments.folder, identity)
            print(f"{arguments.folder}/{SIGNATURE} is signed by {identity.subject}.")
    except (hsm_dicom.Error, OSError) as error:
        sys.exit(f"{error}")


def sign_folder(folder: Path, identity: Identity) -> None:
    """Write the digests of the files in the folder, and the signature over them."""
    files = sorted(path for path in folder.iterdir() if path.name not in (SUMS, SIGNATURE))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files).encode()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(sums).add_signer(identity.certificate, identity.key, SHA256())
    for certificate in identity.chain:
        builder = builder.add_certificate(certificate)
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities]
    signature = builder.sign(Encoding.DER, options)
    (folder / SUMS).write_bytes(sums)
    (folder / SIGNATURE).write_bytes(signature)


if __name__ == "__main__":
    main()
