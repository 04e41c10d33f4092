"""Objects on a token as other programs leave them: ids given twice, points unwrapped, certificates without ids."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, KeyType, ObjectClass

from tests.softhsm import TestToken
from tests.tokens.scenes import sign
from tokens import open_key, open_token
from tokens.csr import certificate_request
from tokens.errors import CeremonyError, NoSuchKeyError
from tokens.pkcs11.ceremony import Usage, delete_key
from tokens.pkcs11.certificates import delete_certificate, import_certificates
from tokens.pkcs11.key_pairs import KeyKind, generate_pair
from tokens.pkcs11.objects import certificates, describe_key, find_private_key

pytestmark = pytest.mark.usefixtures("bounded")

P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")


@pytest.fixture
def two_with_one_id(token: TestToken) -> TestToken:
    """RSA keys `a` and `b` that share CKA_ID, as tools leave them that do not choose one."""
    with open_token(token.uri()) as connection, connection.writable() as session:
        for label in ("a", "b"):
            hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
            named = {Attribute.TOKEN: True, Attribute.ID: b"\1", Attribute.LABEL: label}
            generate_pair(connection.module.queries, session, KeyKind.RSA_2048, named, {**named, **hidden})
    return token


def test_of_two_keys_with_one_id_each_has_its_own_public_half(two_with_one_id: TestToken) -> None:
    with open_key(two_with_one_id.uri("a")) as a, open_key(two_with_one_id.uri("b")) as b:
        assert a.public_key() != b.public_key()
        sign(a)
        sign(b)
        assert certificate_request(b, "CN=b", Usage.SIGN).public_key() == b.public_key()


def test_deleting_one_of_them_leaves_the_other_whole(two_with_one_id: TestToken) -> None:
    with open_token(two_with_one_id.uri()) as connection:
        delete_key(connection, two_with_one_id.uri("b"))
        with connection.writable() as session:
            objects = connection.objects(session)
            read = [objects.read(found, (Attribute.CLASS, Attribute.LABEL)) for found in objects.find({})]
            left = sorted((each.number(Attribute.CLASS), each.text(Attribute.LABEL)) for each in read)
    assert left == [(ObjectClass.PUBLIC_KEY, "a"), (ObjectClass.PRIVATE_KEY, "a")]
    with open_key(two_with_one_id.uri("a")) as a:
        sign(a)


def ec_key_whose_x_begins_with(first: int) -> ec.EllipticCurvePrivateKey:
    numbers = (ec.derive_private_key(secret, ec.SECP256R1()) for secret in range(1, 5000))
    return next(key for key in numbers if key.public_key().public_numbers().x >> 248 == first)


@pytest.mark.parametrize("first", [0x3F, 0x41])
def test_a_point_that_the_token_did_not_wrap_is_read_whatever_it_begins_with(token: TestToken, first: int) -> None:
    # 04 3F would be an OCTET STRING of 63 bytes, were it not an uncompressed point.
    key = ec_key_whose_x_begins_with(first)
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    store_ec_key(token, key, point)
    with open_key(token.uri("raw")) as opened:
        assert opened.public_key() == key.public_key()
        opened.sign(b"data", ec.ECDSA(hashes.SHA256()))


def test_a_point_that_is_none_is_said_to_be_missing(token: TestToken) -> None:
    store_ec_key(token, ec_key_whose_x_begins_with(0x3F), b"\x04\x41\x04" + b"\1" * 64)
    with pytest.raises(NoSuchKeyError, match="public half of key 'raw' is not on the token"):
        open_key(token.uri("raw"))


def store_ec_key(token: TestToken, key: ec.EllipticCurvePrivateKey, point: bytes) -> None:
    common = {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.TOKEN: True,
        Attribute.LABEL: "raw",
        Attribute.ID: b"raw",
        Attribute.EC_PARAMS: P256_PARAMETERS,
    }
    private = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: True,
        Attribute.VALUE: key.private_numbers().private_value.to_bytes(32, "big"),
    }
    with open_token(token.uri()) as connection, connection.writable() as session:
        connection.objects(session).create({**common, **private})
        connection.objects(session).create(
            {**common, Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.EC_POINT: point}
        )


def test_a_certificate_that_lies_on_the_token_without_an_id_is_stored_with_the_keys(
    token: TestToken, self_signed: x509.Certificate
) -> None:
    with open_token(token.uri()) as connection:
        with connection.writable() as session:
            connection.objects(session).create(
                {
                    Attribute.CLASS: ObjectClass.CERTIFICATE,
                    Attribute.CERTIFICATE_TYPE: 0,
                    Attribute.TOKEN: True,
                    Attribute.LABEL: "astray",
                    Attribute.SUBJECT: self_signed.subject.public_bytes(),
                    Attribute.VALUE: self_signed.public_bytes(serialization.Encoding.DER),
                }
            )
        import_certificates(connection, token.uri("one"), [self_signed])
        with connection.writable() as session:
            objects = connection.objects(session)
            key = describe_key(objects, find_private_key(objects, token.uri("one"), "the token"))
            assert certificates(objects, key) == (self_signed,)


@pytest.fixture
def self_signed(token: TestToken) -> x509.Certificate:
    """A certificate of the key `one` on the token, which it makes."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one")])
    now = datetime.datetime.now(datetime.UTC)
    with open_key(token.generate("one", "p256")) as key:
        return (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )


def without_public_object(token: TestToken, **options: bool) -> x509.Certificate:
    """An EC key as some tools leave it: a private object alone. Returns a certificate for it."""
    token.generate("ec", "p256", **options)
    with open_key(token.uri("ec")) as key:
        certificate = certificate_by(key)
    with open_token(token.uri()) as connection, connection.writable() as session:
        objects = connection.objects(session)
        for found in objects.find({Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
            objects.destroy(found)
    return certificate


def certificate_by(key: object) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.public_key(key.public_key()).sign(key, hashes.SHA256())


def test_an_ec_key_without_public_object_gets_its_public_half_from_its_certificate(token: TestToken) -> None:
    certificate = without_public_object(token)
    with pytest.raises(NoSuchKeyError, match="Import its certificate: hsm-dicom key import-cert"):
        open_key(token.uri("ec"))
    other = certificate_by(ec.generate_private_key(ec.SECP256R1()))
    with open_token(token.uri()) as connection:
        with pytest.raises(CeremonyError, match="is not for key 'ec'"):
            import_certificates(connection, token.uri("ec"), [other])
        import_certificates(connection, token.uri("ec"), [certificate])
    with open_key(token.uri("ec")) as key:
        assert key.public_key() == certificate.public_key()
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))  # verified on the host before it is given


def test_its_only_certificate_is_not_deleted(token: TestToken) -> None:
    certificate = without_public_object(token)
    with open_token(token.uri()) as connection:
        import_certificates(connection, token.uri("ec"), [certificate])
        with pytest.raises(CeremonyError, match=r"was not deleted\. Import another certificate for this key first"):
            delete_certificate(connection, token.uri("ec"), certificate)
    with open_key(token.uri("ec")) as key:
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))  # verified on the host before it is given


def test_such_a_key_that_wants_its_pin_each_time_has_a_sentence(token: TestToken) -> None:
    certificate = without_public_object(token, always_authenticate=True)
    with open_token(token.uri()) as connection, pytest.raises(CeremonyError, match="requires its PIN for each use"):
        import_certificates(connection, token.uri("ec"), [certificate])
