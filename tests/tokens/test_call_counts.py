"""How many PKCS#11 calls a whole command makes, from C_Initialize to C_Finalize, whatever else the token holds.

A token behind a network answers each call after tens of milliseconds: what grows with the keys on the token, or asks
twice, is minutes there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.softhsm import provision_environment
from tests.tokens.proxy import Proxy

SIGN, FURTHER_SLOT, GENERATE = 40, 3, 60

FILL = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
import tokens
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.certificates import import_certificates
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.uri import Pkcs11Uri
from pathlib import Path

module, keys, others = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pin = FromEnvironment("COUNT_PIN")
for label in ["counted", *(f"other {n}" for n in range(others))]:
    initialise_token(load_module(module), label, pin, pin)
uri = Pkcs11Uri(token="counted", module_path=module, pin_source="env:COUNT_PIN")
now = datetime.datetime.now(datetime.UTC)
with tokens.open_token(uri) as connection:
    for number in range(keys):
        kind = KeyKind.RSA_2048 if number == 0 else KeyKind.P_256
        label = ["rsa", "ec", *(f"key {n}" for n in range(keys))][number]
        generate_key(connection, label, kind, Usage.SIGN)
        key_uri = Pkcs11Uri(token="counted", object=label, module_path=module, pin_source="env:COUNT_PIN")
        with tokens.open_key(key_uri) as key:
            name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, label)])
            certificate = (
                x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(1))
                .not_valid_after(now + datetime.timedelta(days=400))
                .sign(key, hashes.SHA256())
            )
        import_certificates(connection, key_uri, [certificate])
        Path(sys.argv[4], f"{label}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
"""


class Counted:
    """A token with so many keys beside so many other tokens, behind the proxy."""

    def __init__(self, folder: Path, proxy: Proxy, keys: int, others: int) -> None:
        self.folder = folder
        self.proxy = proxy
        self.environment = {
            **proxy.environment(counted=True),
            **provision_environment(folder / "softhsm"),
            "COUNT_PIN": "31415926",
            "HSM_DICOM_STATE": str(folder / "state"),
        }
        self._run(sys.executable, "-c", FILL, proxy.module, keys, others, folder)

    def count(self, *arguments: object) -> Counter[str]:
        """Run the command, and count its calls."""
        self.proxy.notes.unlink(missing_ok=True)
        self._run(Path(sys.executable).with_name("hsm-dicom"), *arguments)
        calls = self.proxy.calls()
        assert calls["C_Initialize"] == calls["C_Finalize"] == 1
        return calls

    def uri(self, object: str = "") -> str:
        """The URI of the token or of a key."""
        named = f";object={object}" if object else ""
        return f"pkcs11:token=counted{named}?module-path={self.proxy.module}&pin-source=env:COUNT_PIN"

    def _run(self, *arguments: object) -> None:
        done = subprocess.run([*map(str, arguments)], env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module", params=[(4, 0), (50, 5)], ids=["4 keys", "50 keys, 5 further tokens"])
def counted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, proxy_module: Path
) -> tuple[Counted, int]:
    """A filled token, and how many slots there are beside its own."""
    keys, others = request.param
    folder = tmp_path_factory.mktemp("counted")
    # SoftHSM has one more slot, for a token to come.
    return Counted(folder, Proxy(proxy_module, folder), keys, others), others + 1


@pytest.mark.parametrize("key", ["rsa", "ec"])
@pytest.mark.parametrize("certificate", ["token", "file"])
def test_a_signature_takes_40_calls(counted: tuple[Counted, int], key: str, certificate: str, tmp_path: Path) -> None:
    token, further = counted
    where = "token" if certificate == "token" else token.folder / f"{key}.pem"
    source = get_testdata_file("CT_small.dcm", download=False)
    profile = "base" if key == "rsa" else "none"
    calls = token.count(
        *("sign", source, "--out", tmp_path / "out.dcm", "--profile", profile),
        *("--key", token.uri(key), "--cert", where),
    )
    assert calls["C_Login"] == 1
    assert calls["C_Sign"] >= 1
    names = token.proxy.notes.read_text().splitlines()
    before_the_pin = names[names.index("C_Login") - 2 : names.index("C_Login")]
    assert before_the_pin == ["C_GetTokenInfo"] * 2, "its flags were read anew, twice"
    assert sum(calls.values()) <= SIGN + FURTHER_SLOT * further, calls


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_making_a_key_takes_60_calls(counted: tuple[Counted, int], kind: str) -> None:
    token, further = counted
    label = f"made {kind} {os.getpid()}"
    calls = token.count("key", "generate", token.uri(), "--label", label, "--type", kind)
    assert calls["C_GenerateKeyPair"] == 1
    assert sum(calls.values()) <= GENERATE + FURTHER_SLOT * further, calls
