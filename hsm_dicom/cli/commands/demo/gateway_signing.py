"""The steps of the gateway's demonstration in which it signs for a modality that cannot."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hsm_dicom.cli.commands.demo.authority import DemonstrationAuthority
from hsm_dicom.cli.commands.demo.narrator import Narrator
from hsm_dicom.cli.commands.demo.steps import LABEL, DemonstrationError
from hsm_dicom.config import find_token_access, load_configuration
from hsm_dicom.signatures.integrity import check_integrity
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation import Outcome, Validator
from tokens.csr import certificate_request
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.certificates import import_certificates

SIGNER = "signing"

IDENTITY = f"""
[identities.{SIGNER}]
token       = "{LABEL}"
object      = "{SIGNER}"
certificate = "token"
"""

ROUTE_KEYS = f"""objects  = "sign"
identity = "{SIGNER}"
folder   = "held"
minimum_free_mib = 16
"""
"""Lines of the route, behind its target."""

_SECONDS = 60.0


def make_signing_key(tale: Narrator, folder: Path, authority: DemonstrationAuthority) -> None:
    """Generate the key with which the gateway signs, and add its identity to the configuration."""
    tale.step("The gateway's key for signatures", "Another one than for TLS: its certificate says what it is for.")
    access = find_token_access(load_configuration(folder / "hsm-dicom.toml"), LABEL)
    with access.open() as connection:
        entry = generate_key(connection, SIGNER, KeyKind.RSA_2048, Usage.SIGN)
        wanted = access.select_object(entry.name.label, entry.name.id)
        with wanted.open_key() as key:
            certificate = authority.answer(certificate_request(key, "CN=Received by the gateway", Usage.SIGN))
        import_certificates(connection, wanted.uri, [certificate])
    with (folder / "hsm-dicom.toml").open("a") as configuration:
        configuration.write(IDENTITY)
    tale.good(f"{certificate.subject.rfc4514_string()}, RSA {entry.attributes.size_bits} bits.")
    tale.command(f"hsm-dicom key generate {LABEL} --label {SIGNER} --type rsa-2048")


def judge_received(tale: Narrator, folder: Path, received: Iterable[Path]) -> None:
    """Verify what the PACS stored, with this program and with dcmsign. Raises `DemonstrationError`."""
    tale.step("What the PACS has", "The CT signed nothing. The gateway did, on the way.")
    validator = Validator.from_stores(TrustStore.from_files([folder / "ca.pem"], crls=[folder / "ca.crl"]))
    program = shutil.which("dcmsign")
    for file in sorted(received):
        verdict = validator.validate(check_integrity(file))
        if verdict.outcome is not Outcome.GOOD:
            raise DemonstrationError(f"What the gateway signed does not verify: {verdict.text}")
        signer = verdict.signatures[0].signer
        if program is not None:
            command = [program, "--verify", "+rg", "+cf", str(folder / "ca.pem"), str(file)]
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
            if done.returncode:
                raise DemonstrationError(f"dcmsign disagrees on {file.name} (exit status {done.returncode}).")
        tale.good(f"{file.name}: signed by {signer}" + (", and dcmsign agrees." if program is not None else "."))
    if program is None:
        tale.remark("dcmsign is not installed; on Debian: apt-get install dcmtk")
    tale.command("hsm-dicom verify PACS --trust ca.pem --crl ca.crl")
