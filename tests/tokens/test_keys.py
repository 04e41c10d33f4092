"""Keys on a real token, used as `cryptography`'s own are, and verified by it."""

import copy
import gc
import hashlib
import pickle
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import pkcs7
from pkcs11 import Mechanism

from tests.pki import Authority
from tests.softhsm import MODULE, TestToken
from tests.tokens.scenes import sign
from tokens import open_key
from tokens.algorithms.hashing import RIPEMD160
from tokens.algorithms.rsa_encoding import digest_info
from tokens.errors import (
    KeyNotExportableError,
    KeyPolicyError,
    MechanismNotOfferedError,
    ModuleError,
    NoSuchKeyError,
    NoSuchTokenError,
    NotAPrivateKeyError,
    SeveralKeysError,
    TokenLostError,
    UriError,
)
from tokens.events import DeviceEvent, KeyUse, Login, OperationOutcome, subscribe
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.mechanisms import WORTH_SENDING

PKCS1 = padding.PKCS1v15()
ALL_HASHES = [
    hashes.MD5(),
    hashes.SHA1(),
    RIPEMD160(),
    hashes.SHA224(),
    hashes.SHA256(),
    hashes.SHA384(),
    hashes.SHA512(),
]
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def pss(algorithm: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)


@pytest.fixture(scope="module")
def rsa_key(node: TestToken) -> TokenRSAPrivateKey:
    return open_key(node.uri("rsa"))


@pytest.fixture(scope="module")
def decrypting(node: TestToken) -> TokenRSAPrivateKey:
    return open_key(node.uri("decrypt"))


@pytest.mark.parametrize("algorithm", ALL_HASHES, ids=lambda a: a.name)
@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_pkcs1_with_every_hash(rsa_key: TokenRSAPrivateKey, algorithm: hashes.HashAlgorithm, size: int) -> None:
    data = bytes(size)
    signature = rsa_key.sign(data, PKCS1, algorithm)
    digest = hashlib.new(algorithm.name, data).digest()
    rsa_key.public_key().verify(signature, digest_info(algorithm.name, digest), PKCS1, NoDigestInfo())


@pytest.mark.parametrize("algorithm", ALL_HASHES, ids=lambda a: a.name)
def test_pkcs1_prehashed_gives_the_same_signature(rsa_key: TokenRSAPrivateKey, algorithm: hashes.HashAlgorithm) -> None:
    digest = hashlib.new(algorithm.name, b"data").digest()
    assert rsa_key.sign(digest, PKCS1, Prehashed(algorithm)) == rsa_key.sign(b"data", PKCS1, algorithm)


@pytest.mark.parametrize("algorithm", [h for h in ALL_HASHES if h.name not in ("ripemd160",)], ids=lambda a: a.name)
def test_pss_with_every_hash_that_the_host_can_verify(
    rsa_key: TokenRSAPrivateKey, algorithm: hashes.HashAlgorithm
) -> None:
    signature = rsa_key.sign(b"data", pss(algorithm), algorithm)
    rsa_key.public_key().verify(signature, b"data", pss(algorithm), algorithm)
    digest = hashlib.new(algorithm.name, b"data").digest()
    signature = rsa_key.sign(digest, pss(algorithm), Prehashed(algorithm))
    rsa_key.public_key().verify(signature, b"data", pss(algorithm), algorithm)


@pytest.mark.parametrize("offered", [{Mechanism.RSA_PKCS}, {Mechanism.RSA_X_509}], ids=["RSA_PKCS", "RSA_X_509"])
def test_a_token_with_fewer_mechanisms_gives_the_same_pkcs1_signature(node: TestToken, offered: set[Mechanism]) -> None:
    with open_key(node.uri("rsa")) as key:
        expected = key.sign(b"data", PKCS1, hashes.SHA256())
        key.device.offered = frozenset(offered)
        assert key.sign(b"data", PKCS1, hashes.SHA256()) == expected


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name)
def test_a_token_without_pss_signs_a_block_that_the_host_padded(
    node: TestToken, algorithm: hashes.HashAlgorithm
) -> None:
    with open_key(node.uri("rsa")) as key:
        key.device.offered = frozenset({Mechanism.RSA_X_509})
        signature = key.sign(b"data", pss(algorithm), algorithm)
        key.public_key().verify(signature, b"data", pss(algorithm), algorithm)


def test_a_mechanism_that_is_listed_but_refused_is_passed_over(node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        key.device.offered |= {Mechanism._RIPEMD160_RSA_PKCS}  # which SoftHSM does not carry out
        digest = hashlib.new("ripemd160", b"data").digest()
        for _ in range(2):
            signature = key.sign(b"data", PKCS1, RIPEMD160())
            key.public_key().verify(signature, digest_info("ripemd160", digest), PKCS1, NoDigestInfo())


@pytest.mark.parametrize("mask", [hashes.SHA1(), hashes.SHA384(), hashes.MD5()], ids=lambda mask: mask.name)
@pytest.mark.parametrize("salt", [0, 32, padding.PSS.MAX_LENGTH], ids=["none", "32", "longest"])
def test_pss_with_another_hash_in_its_mask(node: TestToken, mask: hashes.HashAlgorithm, salt: int) -> None:
    scheme = padding.PSS(padding.MGF1(mask), salt)
    with open_key(node.uri("rsa")) as key:
        signature = key.sign(b"data", scheme, hashes.SHA256())
        key.public_key().verify(signature, b"data", scheme, hashes.SHA256())


@pytest.mark.parametrize("label", ["ec256", "ec384"])
@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name)
def test_ecdsa(node: TestToken, label: str, algorithm: hashes.HashAlgorithm) -> None:
    with open_key(node.uri(label)) as key:
        assert isinstance(key, TokenECPrivateKey)
        assert key.curve.key_size == key.key_size == int(label.removeprefix("ec"))
        key.public_key().verify(key.sign(b"data", ec.ECDSA(algorithm)), b"data", ec.ECDSA(algorithm))
        digest = hashlib.new(algorithm.name, b"data").digest()
        signature = key.sign(digest, ec.ECDSA(Prehashed(algorithm)))
        key.public_key().verify(signature, b"data", ec.ECDSA(algorithm))


def test_decryption(decrypting: TokenRSAPrivateKey) -> None:
    for scheme in (PKCS1, OAEP):
        assert decrypting.decrypt(decrypting.public_key().encrypt(b"secret", scheme), scheme) == b"secret"


def test_a_bad_pkcs1_ciphertext_is_answered_with_a_steady_random_result(decrypting: TokenRSAPrivateKey) -> None:
    bad, other = b"\x01" * 256, b"\x02" * 256
    answer = decrypting.decrypt(bad, PKCS1)
    assert answer == decrypting.decrypt(bad, PKCS1)
    assert answer != decrypting.decrypt(other, PKCS1)
    assert len(answer) <= 245


def test_no_log_and_no_event_tells_a_bad_ciphertext_from_a_good_one(decrypting: TokenRSAPrivateKey) -> None:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        decrypting.decrypt(b"\x01" * 256, PKCS1)
        decrypting.decrypt(decrypting.public_key().encrypt(b"secret", PKCS1), PKCS1)
    assert [(e.outcome, e.reason) for e in heard] == [(OperationOutcome.SUCCEEDED, "")] * 2


def test_a_bad_oaep_ciphertext_is_an_error(decrypting: TokenRSAPrivateKey) -> None:
    with pytest.raises(ValueError, match="Decryption failed"):
        decrypting.decrypt(b"\x01" * 256, OAEP)


def test_oaep_with_a_hash_that_the_token_has_not_is_refused(decrypting: TokenRSAPrivateKey) -> None:
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    with pytest.raises(MechanismNotOfferedError, match="OAEP"):
        decrypting.decrypt(decrypting.public_key().encrypt(b"secret", scheme), scheme)


def test_a_ciphertext_of_the_wrong_length_is_refused(decrypting: TokenRSAPrivateKey) -> None:
    with pytest.raises(ValueError, match="is 256 bytes"):
        decrypting.decrypt(b"\x01" * 255, PKCS1)


def test_a_key_does_only_what_it_is_for(rsa_key: TokenRSAPrivateKey, decrypting: TokenRSAPrivateKey) -> None:
    with pytest.raises(KeyPolicyError, match="--usage decrypt"):
        rsa_key.decrypt(bytes(256), PKCS1)
    with pytest.raises(KeyPolicyError, match="--usage sign"):
        decrypting.sign(b"data", PKCS1, hashes.SHA256())


def test_cryptography_takes_the_keys_for_requests_certificates_and_pkcs7(node: TestToken) -> None:
    name = x509.Name.from_rfc4514_string("CN=node")
    for label in ("rsa", "ec256"):
        with open_key(node.uri(label)) as key:
            request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
            assert request.is_signature_valid
            certificate = Authority("CA").issue("node", key=key).certificate
            signed = (
                pkcs7.PKCS7SignatureBuilder()
                .set_data(b"data")
                .add_signer(certificate, key, hashes.SHA256())
                .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
            )
            assert b"data" in signed


def test_a_key_stays_on_its_token(node: TestToken, rsa_key: TokenRSAPrivateKey) -> None:
    with open_key(node.uri("ec256")) as ec_key:
        for key in (rsa_key, ec_key):
            assert copy.copy(key) is key
            assert copy.deepcopy(key) is key
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(key)
            with pytest.raises(KeyNotExportableError, match="stays on its device"):
                key.private_numbers()
            with pytest.raises(KeyNotExportableError):
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )


def test_each_use_is_an_event_that_names_the_mechanism(rsa_key: TokenRSAPrivateKey) -> None:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        rsa_key.sign(b"data", PKCS1, hashes.SHA256())
    (event,) = heard
    assert isinstance(event, KeyUse)
    assert (event.key_label, event.operation, event.mechanism) == ("rsa", "sign", "CKM_SHA256_RSA_PKCS")
    assert event.outcome is OperationOutcome.SUCCEEDED
    assert event.duration > 0


def test_long_data_is_hashed_on_the_host_after_short_data_was_signed_too(rsa_key: TokenRSAPrivateKey) -> None:
    used: list[str] = []
    with subscribe(lambda event: used.append(event.mechanism), KeyUse):
        for data in (b"data", bytes(WORTH_SENDING + 1), b"data"):
            rsa_key.public_key().verify(rsa_key.sign(data, PKCS1, hashes.SHA256()), data, PKCS1, hashes.SHA256())
    assert used == ["CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS", "CKM_SHA256_RSA_PKCS"]


def test_a_listener_may_use_the_key_that_it_hears_of(token: TestToken) -> None:
    with open_key(token.generate("one"), sessions=1) as key:
        sign(key)
        connection = key.device._connection
        heard: list[DeviceEvent] = []

        def sign_what_was_heard(event: DeviceEvent) -> None:
            heard.append(event)
            if isinstance(event, Login):
                sign(key)

        connection.module.cryptoki.logout(connection._anchor)
        with subscribe(sign_what_was_heard):
            sign(key)
        assert [type(event) for event in heard if not isinstance(event, KeyUse)].count(Login) == 1
        assert [type(event) for event in heard].count(KeyUse) == 2
        assert (len(connection._idle), connection._busy) == (1, 0)
        sign(key)


def test_a_sink_that_fails_does_not_stop_the_signature(rsa_key: TokenRSAPrivateKey) -> None:
    def broken(event: DeviceEvent) -> None:
        raise OSError("disk full")

    with subscribe(broken):
        assert len(rsa_key.sign(b"data", PKCS1, hashes.SHA256())) == 256


def test_a_closed_key_says_so(node: TestToken) -> None:
    key = open_key(node.uri("rsa"))
    key.close()
    key.close()
    with pytest.raises(TokenLostError, match="was closed"):
        key.sign(b"data", PKCS1, hashes.SHA256())


def test_a_key_that_was_closed_is_not_kept_by_the_session_that_it_used(token: TestToken) -> None:
    kept, passing = token.generate("kept", "p256"), token.generate("passing", "p256")
    with open_key(kept, sessions=1) as key:
        for _ in range(20):
            open_key(passing).close()
        gc.collect()
        (worker,) = key.device._connection._idle
        assert len(worker.keys) == 1


def test_keys_of_one_token_outlive_each_other(node: TestToken) -> None:
    one, other = open_key(node.uri("ec256")), open_key(node.uri("ec256"))
    one.close()
    assert other.sign(b"data", ec.ECDSA(hashes.SHA256()))
    other.close()


def test_the_id_finds_the_key_as_the_label_does(node: TestToken, rsa_key: TokenRSAPrivateKey) -> None:
    with open_key(str(rsa_key.device.uri) + f"&pin-source={node.pin}") as same:
        assert same.public_key() == rsa_key.public_key()


def test_no_such_token_lists_what_is_there(node: TestToken) -> None:
    with pytest.raises(NoSuchTokenError, match=f"label 'nowhere'.*token '{node.label}'"):
        open_key(f"pkcs11:token=nowhere?module-path={MODULE}", pin=node.pin)


def test_no_such_key_lists_what_is_there(node: TestToken) -> None:
    with pytest.raises(NoSuchKeyError, match=r"label 'nothing'.*It holds: 'decrypt', 'ec256', 'ec384', 'rsa'"):
        open_key(node.uri("nothing"))


def test_several_keys_are_not_guessed_among(node: TestToken) -> None:
    with pytest.raises(SeveralKeysError, match="4 private keys"):
        open_key(node.uri())


def test_a_public_key_where_a_private_one_is_needed(node: TestToken) -> None:
    with pytest.raises(NotAPrivateKeyError, match="type=public"):
        open_key(str(node.uri("rsa")).replace(";object=rsa", ";object=rsa;type=public"))


def test_a_label_that_only_a_public_key_has(token: TestToken) -> None:
    from pkcs11 import Attribute, ObjectClass

    from tokens import open_token

    uri = token.generate("pair")
    with open_token(token.uri()) as connection, connection.writable() as session:
        objects = connection.objects(session)
        for found in objects.find({Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
            objects.destroy(found)
    with pytest.raises(NotAPrivateKeyError, match="'pair'.*is a public key"):
        open_key(uri)


def test_a_uri_without_a_module_says_how_to_name_it() -> None:
    with pytest.raises(UriError, match="module-path"):
        open_key("pkcs11:token=x")


def test_what_is_no_module_is_refused(tmp_path: object) -> None:
    with pytest.raises(ModuleError, match=r"no PKCS#11 module at /nowhere\.so .*--module"):
        open_key("pkcs11:token=x", module="/nowhere.so")
    with pytest.raises(ModuleError, match="not a PKCS#11 module"):
        open_key("pkcs11:token=x", module="/etc/passwd")
    with pytest.raises(ModuleError, match="not a PKCS#11 module"):
        open_key("pkcs11:token=x", module=next(Path("/usr/lib").glob("*/libc.so.6")))


def test_rsa_is_rsa(rsa_key: TokenRSAPrivateKey) -> None:
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert rsa_key.key_size == 2048
    assert "rsa" in repr(rsa_key)
