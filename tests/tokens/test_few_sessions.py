"""Tokens with one or two sessions, or without random numbers: smart cards behind a module, and small HSMs."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_key
from tokens.errors import MechanismNotOfferedError

pytestmark = pytest.mark.usefixtures("bounded")

EVERYTHING = """
import datetime
from concurrent.futures import ThreadPoolExecutor
from cryptography import x509
from tokens.pkcs11.ceremony import KeyKind, Usage, delete_key, generate_key, read_keys
from tokens.pkcs11.certificates import import_certificates
from tokens.uri import Pkcs11Uri
import dataclasses
token = Pkcs11Uri.parse(uris[0])
def uri(label):
    return dataclasses.replace(token, object=label)
with tokens.open_token(token) as connection:
    for label, kind, usage in (("rsa", KeyKind.RSA_2048, Usage.SIGN), ("decrypt", KeyKind.RSA_2048, Usage.DECRYPT)):
        generate_key(connection, label, kind, usage)
    print(len(read_keys(connection)))
    with tokens.open_key(uri("rsa")) as key, tokens.open_key(uri("decrypt")) as other:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number()
            ).not_valid_before(now).not_valid_after(now + datetime.timedelta(9)).sign(key, hashes.SHA256())
        import_certificates(connection, uri("rsa"), [certificate])
        print(key.device.certificates() == (certificate,))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: sign(key), range(12)))
        encrypted = other.public_key().encrypt(b"secret", padding.PKCS1v15())
        print(other.decrypt(encrypted, padding.PKCS1v15()).decode())
        print(len(other.decrypt(encrypted[:-1] + bytes([encrypted[-1] ^ 1]), padding.PKCS1v15())) != 6 or "by chance")
        sign(key)
    delete_key(connection, uri("rsa"))
    print([entry.name.label for entry in read_keys(connection)])
"""


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_a_token_with_few_sessions_does_everything(token: TestToken, proxy: Proxy, sessions: int) -> None:
    proxy.rule(f"C_OpenSession sessions={sessions} rv=0xb1")
    printed = scenes.play(EVERYTHING, proxy.serving(token.uri()), environment=proxy.environment(counted=True))
    assert [line for line in printed if line not in ("True", "by chance")] == ["2", "secret", "['decrypt']"]
    assert proxy.calls()["C_OpenSession"] > sessions, "the limit was met"


def test_with_one_session_a_lost_one_is_replaced(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_OpenSession sessions=1 rv=0xb1", "C_SignInit rv=0xb3 skip=1 times=1")
    code = """
    key = tokens.open_key(uris[0])
    for _ in range(4):
        said(lambda: sign(key))
    """
    printed = scenes.play(code, proxy.serving(node.uri("rsa")), environment=proxy.environment())
    assert printed == ["done"] * 4


@pytest.mark.parametrize("rv", ["0x54", "0x121"])
def test_a_token_without_random_numbers_decrypts(node: TestToken, proxy: Proxy, rv: str) -> None:
    proxy.rule(f"C_GenerateRandom rv={rv}")
    code = """
    with tokens.open_key(uris[0]) as key:
        encrypted = key.public_key().encrypt(b"secret", padding.PKCS1v15())
        print(key.decrypt(encrypted, padding.PKCS1v15()).decode(), key.device._connection.is_alive())
    """
    printed = scenes.play(code, proxy.serving(node.uri("decrypt")), environment=proxy.environment())
    assert printed == ["secret True"]


def test_a_deterministic_signature_is_refused_and_not_made_by_chance(node: TestToken) -> None:
    with open_key(node.uri("ec256")) as key:
        with pytest.raises(MechanismNotOfferedError, match="RFC 6979"):
            key.sign(b"data", ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        key.sign(b"data", ec.ECDSA(hashes.SHA256(), deterministic_signing=False))
