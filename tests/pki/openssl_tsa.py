"""A time stamp authority made of `openssl ts`, a second implementation beside certomancer's.

tsa = OpensslTsa(folder, ca, tsa_identity)
reply = tsa.reply(query_der)
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.pki import Authority, Identity

_CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
other_policies = 1.3.6.1.4.1.99999.2
digests = sha1, sha224, sha256, sha384, sha512
accuracy = secs:1, millisecs:500
tsa_name = yes
ess_cert_id_alg = {certificate_hash}
"""


@dataclass(frozen=True)
class OpensslTsa:
    """Its replies hold the certificate of the signer and of its CA, if asked for certificates."""

    folder: Path
    ca: Authority
    signer: Identity
    certificate_hash: str = "sha256"

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "ca.pem").write_bytes(self.ca.pem)
        (self.folder / "tsa.pem").write_bytes(self.signer.pem)
        (self.folder / "tsa.key").write_bytes(self.signer.key_pem)
        (self.folder / "serial").write_text("01")
        text = _CONFIGURATION.format(folder=self.folder, certificate_hash=self.certificate_hash)
        (self.folder / "tsa.cnf").write_text(text)

    def reply(self, query: bytes) -> bytes:
        """The TimeStampResp (DER) to a query."""
        (self.folder / "query.tsq").write_bytes(query)
        self._openssl("ts -reply -config tsa.cnf -queryfile query.tsq -out reply.tsr")
        return (self.folder / "reply.tsr").read_bytes()

    def accepts(self, token: bytes, data: bytes) -> bool:
        """Whether `openssl ts -verify` accepts the token over the data."""
        (self.folder / "token.der").write_bytes(token)
        (self.folder / "data").write_bytes(data)
        command = "ts -verify -token_in -in token.der -data data -CAfile ca.pem"
        return self._openssl(command, check=False).returncode == 0

    def _openssl(self, arguments: str, *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = ["openssl", *arguments.split()]
        return subprocess.run(command, cwd=self.folder, check=check, capture_output=True, timeout=20)
