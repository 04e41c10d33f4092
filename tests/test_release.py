"""Releases: files signed by a key on a token, verified by OpenSSL, and only of what is committed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import Authority
from tests.softhsm import TestToken

TOOLS = Path(__file__).parent.parent / "tools"


def verify(folder: Path, ca: Path) -> str | None:
    """Run the commands of the page on installing; None if all files are as they were signed."""
    commands = f"""
        openssl cms -verify -binary -inform DER -in SHA256SUMS.p7s -content SHA256SUMS -CAfile {ca} -purpose any \
          -out /dev/null && sha256sum --check --strict --quiet SHA256SUMS
    """
    done = subprocess.run(["sh", "-c", commands], cwd=folder, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout + done.stderr


def sign_with_token(token: TestToken, label: str, root: Authority, place: Path, folder: Path) -> str:
    """Sign a folder as `make release` does, with a certificate below an intermediate; return what was printed."""
    between = root.authority("Release CA 2")
    code_signing = ExtendedKeyUsageOID.CODE_SIGNING.dotted_string
    certificate = certify(token, label, between, store=False, extended=[code_signing])
    signer, chain, config = (place / name for name in ("signer.pem", "chain.pem", "config.toml"))
    signer.write_bytes(certificate.public_bytes(Encoding.PEM))
    chain.write_bytes(between.pem)
    config.write_text(
        configuration_text(token, "hsm")
        + f'[identities.release]\ntoken = "hsm"\nobject = "{label}"\n'
        + f'certificate = "{signer}"\nchain = "{chain}"\n'
    )
    command = [sys.executable, "-P", str(TOOLS / "sign_folder.py"), "--identity", "release", "--config", str(config)]
    return subprocess.run([*command, str(folder)], check=True, capture_output=True, text=True).stdout


@pytest.mark.interop
@pytest.mark.parametrize("label", ["rsa", "ec256"])
def test_openssl_verifies_what_a_token_signed(node: TestToken, tmp_path: Path, label: str) -> None:
    root = Authority("Release CA")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(root.pem)
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "a.whl").write_bytes(b"wheel")
    (folder / "a.tar.gz").write_bytes(b"source")
    said = sign_with_token(node, label, root, tmp_path, folder)
    assert f"SHA256SUMS.p7s is signed by CN=Signer {label}." in said
    assert verify(folder, trusted) is None
    (tmp_path / "other.pem").write_bytes(Authority("Other CA").pem)
    assert "unable to get local issuer" in (verify(folder, tmp_path / "other.pem") or "")
    (folder / "a.whl").write_bytes(b"Wheel")
    assert "a.whl: FAILED" in (verify(folder, trusted) or "")
    sums = folder / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes().replace(b"a.whl", b"b.whl"))
    assert "failure" in (verify(folder, trusted) or "")


@pytest.mark.interop
def test_a_release_of_what_is_not_committed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    shutil.copy(TOOLS / "release", tmp_path / "tools")
    environment = {"PATH": os.defpath, "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, env=environment, check=True)
    done = subprocess.run([tmp_path / "tools" / "release", "node"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not committed" in done.stderr
    assert "?? tools/" in done.stderr
