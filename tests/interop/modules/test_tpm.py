"""A TPM 2.0: tpm2-pkcs11 over tpm2-abrmd and swtpm, on a session bus of their own.

All its tokens have the serial number 0000000000000000; it refuses CKA_VERIFY of a public key, and CKM_RSA_PKCS with a
key that may only sign; C_Finalize in a forked child would end its parent's login.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.integrity import Finding
from tests.interop.modules import behaviours
from tests.interop.modules.devices.tpm import MODULE, device
from tests.tokens import scenes

COMMAND = Path(sys.executable).with_name("hsm-dicom")


@dataclass(frozen=True)
class Tpm:
    """The environment of a process that uses the TPM, and a certificate's folder."""

    environment: dict[str, str]
    folder: Path

    def uri(self, label: str) -> str:
        return f"pkcs11:token=tpm;object={label}?module-path={MODULE}&pin-source=env:TPM_PIN"

    def run(self, *arguments: object) -> str:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)], env=self.environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def play(self, code: str, *uris: object) -> list[str]:
        return scenes.play(code, *uris, environment=self.environment)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tpm]:
    """A TPM with one token and keys on it: `rsa` and `ec` that sign, `decrypt`."""
    folder = tmp_path_factory.mktemp("tpm")
    with device(folder) as worker:
        made = Tpm({**os.environ, **worker.device.environment, "TPM_PIN": worker.device.pin}, folder)
        for label in ("rsa", "decrypt"):
            assert "error" not in worker.run(behaviours.generate, label)
        worker.close()
        # One of them by the command.
        made.run("key", "generate", made.uri("").replace(";object=", ""), "--label", "ec", "--type", "p256")
        yield made


def test_keys_that_were_made_in_it_sign_and_decrypt(keys: Tpm) -> None:
    code = """
    for uri in uris[:2]:
        with tokens.open_key(uri) as key:
            sign(key)
            print(key.key_size, key.device.attributes.extractable, key.device.attributes.local)
    with tokens.open_key(uris[2]) as key:
        for scheme in (padding.PKCS1v15(), padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)):
            print(key.decrypt(key.public_key().encrypt(b"secret", scheme), scheme).decode())
    """
    printed = keys.play(code, keys.uri("rsa"), keys.uri("ec"), keys.uri("decrypt"))
    assert printed == ["2048 False True", "256 False True", "secret", "secret"]


def test_a_key_that_may_only_sign_signs_files_by_hashing_them_itself(keys: Tpm) -> None:
    code = """
    import datetime
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tpm")])
    now = datetime.datetime.now(datetime.UTC)
    with tokens.open_key(uris[0]) as key:
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number()).not_valid_before(
            now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(90)).sign(key, hashes.SHA256())
    open(uris[1], "wb").write(made.public_bytes(Encoding.PEM))
    """
    certificate, target = keys.folder / "certificate.pem", keys.folder / "out.dcm"
    keys.play(code, keys.uri("rsa"), certificate)
    source = get_testdata_file("CT_small.dcm", download=False)
    keys.run("sign", source, "--out", target, "--key", keys.uri("rsa"), "--cert", certificate)
    (signature,) = check_integrity(target).signatures
    assert signature.finding is Finding.INTACT


def test_a_digest_that_it_does_not_sign_is_a_sentence_and_no_lost_token(keys: Tpm) -> None:
    code = """
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    with tokens.open_key(uris[0]) as key:
        for _ in range(2):
            try:
                key.sign(bytes(32), padding.PKCS1v15(), Prehashed(hashes.SHA256()))
            except TokenError as error:
                print(f"{type(error).__name__}: {error}")
        sign(key)
    """
    printed = keys.play(code, keys.uri("rsa"))
    assert [line.partition(":")[0] for line in printed] == ["MechanismNotOfferedError"] * 2
    assert "refused every mechanism for this operation: CKM_RSA_PKCS, CKM_RSA_X_509" in printed[0]


def test_a_check_tells_what_it_does_and_what_it_refuses(keys: Tpm) -> None:
    said = json.loads(keys.run("token", "check", keys.uri("rsa"), "--json"))
    (key,) = said["keys"]
    operations = {each["operation"]: each for each in key["operations"]}
    refused = operations["RSASSA-PKCS1-v1_5, SHA256"]
    assert not refused["works"]
    assert "CKR_GENERAL_ERROR" in refused["problem"]
    instead = operations["RSASSA-PKCS1-v1_5, SHA256, hashed by the device"]
    assert instead["works"]
    assert instead["mechanism"] == "CKM_SHA256_RSA_PKCS"


def test_a_forked_child_is_refused_and_the_parent_stays_logged_in(keys: Tpm) -> None:
    code = """
    key = tokens.open_key(uris[0])
    sign(key)
    anchor = key.device._connection._anchor
    for _ in range(3):
        if os.fork() == 0:
            said(lambda: sign(key))
            os._exit(0)
        os.wait()
        sign(key)
    print(key.device._connection._anchor is anchor)
    """
    assert keys.play(code, keys.uri("ec")) == ["TokenLostError"] * 3 + ["True"]
