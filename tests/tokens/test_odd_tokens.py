"""Tokens that answer oddly: each defect is a fact with a sentence, and none opens what the policy would refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.integrity import Finding
from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens.pkcs11.calls.return_values import name_of

pytestmark = pytest.mark.usefixtures("bounded")

SIGN, SENSITIVE, EXTRACTABLE, LOCAL, LABEL, ID = 0x108, 0x103, 0x162, 0x163, 0x3, 0x102
KEY_TYPE, MODULUS, ENCRYPT, DECRYPT, ALWAYS_AUTHENTICATE = 0x100, 0x120, 0x104, 0x105, 0x202

TRY = """
try:
    key = tokens.open_key(uris[0])
    sign(key)
    print(key.key_size, flush=True)
except TokenError as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


def play(proxy: Proxy, uri: object, *rules: str) -> str:
    proxy.rule(*rules)
    (printed,) = scenes.play(TRY, proxy.serving(uri), environment=proxy.environment(counted=True))
    return printed


def private(attribute: int, length: int) -> str:
    return f"C_GetAttributeValue class=3 attribute={attribute:#x} length={length}"


@pytest.mark.parametrize(
    ("call", "rv"),
    [("C_GetTokenInfo", "0x5"), ("C_GetTokenInfo", "0xe0"), ("C_GetSlotInfo", "0x80000001"), ("C_GetSlotInfo", "0x30")],
)
def test_a_slot_that_fails_takes_no_other_token_away(node: TestToken, proxy: Proxy, call: str, rv: str) -> None:
    bad = new_token(f"bad{os.getpid()}{rv}{call[5]}")
    rule = f"{call} token={bad.label} rv={rv}"
    assert play(proxy, node.uri("rsa"), rule) == "2048"
    said = play(proxy, bad.uri("key"), rule)
    assert said.startswith("NoSuchTokenError: ")
    assert ("could not be read" in said) is (rv in ("0x5", "0x6", "0x80000001"))


def test_a_list_shows_the_other_tokens_and_names_the_slot_that_fails(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_GetTokenInfo token=node rv=0x5")
    new_token()
    command = [Path(sys.executable).with_name("hsm-dicom"), "token", "list", "--module", proxy.module]
    shown, told = (
        subprocess.run(
            [*command, *form], env=proxy.environment(), check=True, capture_output=True, text=True, timeout=60
        ).stdout
        for form in ([], ["--json"])
    )
    assert "could not be read" in shown
    assert "CKR_GENERAL_ERROR" in shown
    assert "pkcs11:token=test" in shown
    (slot,) = json.loads(told)["unreadable_slots"]
    assert slot["error"] == "CKR_GENERAL_ERROR"


@pytest.mark.parametrize("rv", ["0x5", "0x70"])
def test_a_mechanism_of_which_nothing_is_told_keeps_no_key_from_signing(node: TestToken, proxy: Proxy, rv: str) -> None:
    assert play(proxy, node.uri("rsa"), f"C_GetMechanismInfo mechanism=0x40 rv={rv}") == "2048"
    said = play(proxy, node.uri("ec256"), f"C_GetMechanismInfo rv={rv}")
    # CKR_MECHANISM_INVALID is no silence: p11-kit 0.24.1 lists what it then does not know.
    assert said == "256" if rv != "0x70" else said.startswith("MechanismNotOfferedError: ")


@pytest.mark.parametrize("attribute", [SIGN, LOCAL, LABEL, ID, DECRYPT, ALWAYS_AUTHENTICATE])
def test_an_attribute_that_is_not_told_keeps_no_key_from_signing(node: TestToken, proxy: Proxy, attribute: int) -> None:
    assert play(proxy, node.uri("rsa"), private(attribute, -1)) == "2048"


@pytest.mark.parametrize("rv", ["0x5", "0x7"])
def test_a_token_that_tells_several_attributes_only_one_by_one_is_served(
    node: TestToken, proxy: Proxy, rv: str
) -> None:
    assert play(proxy, node.uri("rsa"), f"C_GetAttributeValue rv={rv} times=1") == "2048"
    assert play(proxy, node.uri("ec256"), f"C_GetAttributeValue rv={rv} times=1") == "256"


@pytest.mark.parametrize("attribute", [SENSITIVE, EXTRACTABLE])
def test_protection_that_is_not_told_counts_as_missing(node: TestToken, proxy: Proxy, attribute: int) -> None:
    said = play(proxy, node.uri("rsa"), private(attribute, -1))
    assert said.startswith("KeyPolicyError: ")
    assert "the token does not say" in said


@pytest.mark.parametrize(
    ("attribute", "length"),
    [(EXTRACTABLE, 0), (EXTRACTABLE, 2), (SENSITIVE, 8), (LOCAL, 0), (SIGN, 0), (ALWAYS_AUTHENTICATE, 0)],
)
def test_a_flag_of_the_wrong_length_is_named_and_the_key_refused(
    node: TestToken, proxy: Proxy, attribute: int, length: int
) -> None:
    # CKA_EXTRACTABLE of no bytes once read as "not extractable".
    said = play(proxy, node.uri("rsa"), private(attribute, length))
    assert said.startswith("KeyPolicyError: ")
    assert "where one byte, 0 or 1 is due" in said
    assert "defective-attributes" in said


@pytest.mark.parametrize("length", [0, 4])
def test_a_key_type_of_the_wrong_length_is_a_sentence(node: TestToken, proxy: Proxy, length: int) -> None:
    said = play(proxy, node.uri("rsa"), private(KEY_TYPE, length))
    assert said.startswith("UnsupportedKeyError: ")
    assert "CKA_KEY_TYPE has" in said


@pytest.mark.parametrize("length", [-1, 0])
def test_a_modulus_that_the_private_object_hides_is_read_from_the_public_one(
    node: TestToken, proxy: Proxy, length: int
) -> None:
    assert play(proxy, node.uri("rsa"), private(MODULUS, length)) == "2048"


@pytest.mark.parametrize("length", [-1, 0, 8])
def test_a_public_half_that_nothing_tells_is_a_sentence(node: TestToken, proxy: Proxy, length: int) -> None:
    said = play(proxy, node.uri("ec256"), f"C_GetAttributeValue class=2 attribute=0x181 length={length}")
    assert said.startswith("NoSuchKeyError: ")
    assert "public half" in said


SECRETS = """
from tokens.pkcs11.secret_keys.ceremony import list_secrets
from tokens.secrets import Use
for job in (
    lambda: tokens.open_secrets(uris[0]).device.data_key(1),
    lambda: list_secrets(tokens.open_token(uris[0]).connection),
):
    try:
        job()
        print("done", flush=True)
    except TokenError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.mark.parametrize(
    ("attribute", "length"),
    [(EXTRACTABLE, -1), (EXTRACTABLE, 0), (SENSITIVE, 3), (ENCRYPT, 0), (LABEL, 0), (KEY_TYPE, 3)],
)
def test_secrets_with_odd_attributes_are_sentences(token: TestToken, proxy: Proxy, attribute: int, length: int) -> None:
    from tokens import open_token
    from tokens.pkcs11.secret_keys.ceremony import import_secret
    from tokens.secrets import Use

    with open_token(token.uri()) as connection:
        import_secret(connection, Use.ENCRYPTION, 1, bytearray(os.urandom(8)))
    proxy.rule(f"C_GetAttributeValue class=4 attribute={attribute:#x} length={length}")
    opened, _ = scenes.play(SECRETS, proxy.serving(token.uri()), environment=proxy.environment())
    if attribute in (SENSITIVE, EXTRACTABLE):
        assert opened.startswith("KeyPolicyError: ")


@pytest.mark.parametrize("rv", ["0x5", "0x63", "0x68", "0x70"])
def test_a_refused_mechanism_is_followed_by_the_next_candidate(node: TestToken, proxy: Proxy, rv: str) -> None:
    assert play(proxy, node.uri("rsa"), f"C_SignInit mechanism=0x40 rv={rv}") == "2048"
    assert play(proxy, node.uri("rsa"), f"C_Sign rv={rv} times=1") == "2048"
    assert proxy.calls()["C_Login"] == 2, "nobody took a refusal for a loss"
    # SoftHSM 2.6.1 has CKM_ECDSA only: no other candidate is left.
    said = play(proxy, node.uri("ec256"), f"C_SignInit mechanism=0x1041 rv={rv}")
    assert said.startswith("MechanismNotOfferedError: ")
    assert name_of(int(rv, 16)) in said


def test_a_mechanism_that_is_refused_after_it_worked_is_followed_by_the_others(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_SignInit mechanism=0x40 rv=0x70 skip=1")
    code = """
from tokens.events import KeyUse, subscribe
key = tokens.open_key(uris[0])
with subscribe(lambda event: print(event.mechanism, event.outcome, flush=True), KeyUse):
    for _ in range(3):
        sign(key)
"""
    assert scenes.play(code, proxy.serving(node.uri("rsa")), environment=proxy.environment()) == [
        "CKM_SHA256_RSA_PKCS succeeded",
        "CKM_SHA256_RSA_PKCS failed", "CKM_RSA_PKCS succeeded",
        "CKM_RSA_PKCS succeeded",
    ]  # fmt: skip


def test_threads_take_no_unclear_refusal_for_a_loss(node: TestToken, proxy: Proxy) -> None:
    # Each thread meets the refusal by itself: those of other threads are no sign that the device failed.
    proxy.rule("C_Sign rv=0x5")
    code = """
    from concurrent.futures import ThreadPoolExecutor
    key = tokens.open_key(uris[0])
    started = threading.Barrier(8)
    def attempt(_):
        started.wait()
        try:
            sign(key)
        except TokenError as error:
            return type(error).__name__
    with ThreadPoolExecutor(8) as pool:
        print(*sorted(set(pool.map(attempt, range(8)))))
    """
    printed = scenes.play(code, proxy.serving(node.uri("ec256")), environment=proxy.environment(counted=True))
    assert printed == ["MechanismNotOfferedError"]


def test_a_device_that_hashes_by_itself_signs_files(node: TestToken, proxy: Proxy, tmp_path: Path) -> None:
    # As a TPM with a key that may only sign: CKM_RSA_PKCS and CKM_RSA_X_509 are refused, CKM_SHA256_RSA_PKCS is not.
    proxy.rule("C_SignInit mechanism=0x1 rv=0x5", "C_SignInit mechanism=0x3 rv=0x5")
    uri = proxy.serving(node.uri("rsa"))
    certificate = tmp_path / "certificate.pem"
    code = """
    import datetime
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one")])
    now = datetime.datetime.now(datetime.UTC)
    with tokens.open_key(uris[0]) as key:
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number()).not_valid_before(
            now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(90)).sign(key, hashes.SHA256())
    open(uris[1], "wb").write(made.public_bytes(Encoding.PEM))
    """
    scenes.play(code, uri, certificate, environment=proxy.environment())
    command = Path(sys.executable).with_name("hsm-dicom")
    source, target = get_testdata_file("CT_small.dcm", download=False), tmp_path / "out.dcm"
    done = subprocess.run(
        [command, "sign", source, "--out", target, "--key", str(uri), "--cert", certificate],
        env=proxy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (verified,) = check_integrity(target).signatures
    assert verified.finding is Finding.INTACT
