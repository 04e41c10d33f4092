"""What an officer does to a token."""

from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import Attribute, ObjectClass

from tests.pki import Authority
from tests.softhsm import MODULE, TestToken, set_pin
from tokens import open_key, open_token
from tokens.csr import certificate_request
from tokens.errors import CeremonyError, NoSuchKeyError, NoSuchTokenError, PinNotPresentedError, PinRefusedError
from tokens.events import CeremonyStep, DeviceEvent, OperationOutcome, subscribe
from tokens.keys import compute_spki_sha256
from tokens.pins.sources import Pin, parse_pin_source
from tokens.pkcs11.ceremony import (
    KeyKind,
    Usage,
    delete_key,
    generate_key,
    read_keys,
)
from tokens.pkcs11.certificates import _der_integer, import_certificates
from tokens.pkcs11.key_pairs import pack_attribute
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import change_pin, initialise_token
from tokens.pkcs11.search import find_token
from tokens.policy import KeyPolicy, assess_key
from tokens.uri import Pkcs11Uri


def initialise(label: str, so_pin: str, pin: str, **options: object):
    return initialise_token(load_module(MODULE), label, parse_pin_source(so_pin), parse_pin_source(pin), **options)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_key_is_made_inside_and_never_leaves(token: TestToken, kind: KeyKind) -> None:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append), open_token(token.uri()) as connection:
        entry = generate_key(connection, "key", kind, Usage.SIGN)
    assert assess_key(entry.attributes, KeyPolicy()) == ()
    assert entry.attributes.size_bits == int("".join(filter(str.isdigit, kind)))
    steps = [(e.step, e.outcome, e.spki_sha256) for e in heard if isinstance(e, CeremonyStep)]
    assert steps == [("generate", OperationOutcome.SUCCEEDED, entry.spki_sha256)]
    assert len(entry.spki_sha256) == 64


@pytest.mark.parametrize(
    ("usage", "sign", "decrypt"), [("sign", True, False), ("tls", True, False), ("decrypt", False, True)]
)
def test_a_key_gets_the_attributes_of_its_use(token: TestToken, usage: str, sign: bool, decrypt: bool) -> None:
    with open_token(token.uri()) as connection:
        made = generate_key(connection, "key", KeyKind.RSA_2048, Usage(usage)).attributes
    assert (made.sign, made.decrypt, made.unwrap) == (sign, decrypt, decrypt)


def test_an_ec_key_does_not_decrypt(token: TestToken) -> None:
    with open_token(token.uri()) as connection, pytest.raises(CeremonyError, match="Choose rsa"):
        generate_key(connection, "key", KeyKind.P_256, Usage.DECRYPT)


def test_a_label_or_an_id_is_taken_once(token: TestToken) -> None:
    token.generate("key", "p256", key_id=b"\x01")
    with open_token(token.uri()) as connection:
        for label, key_id in (("key", b"\x02"), ("other", b"\x01")):
            with pytest.raises(CeremonyError, match="exists on"):
                generate_key(connection, label, KeyKind.P_256, Usage.SIGN, key_id=key_id)


def test_a_certificate_and_its_chain_are_stored_with_the_key(token: TestToken) -> None:
    uri = token.generate("key", "p256")
    root = Authority("Root")
    with open_key(uri) as key:
        certificate = root.issue("node", key=key).certificate
    with open_token(token.uri()) as connection:
        for _ in range(2):  # a second time changes nothing
            import_certificates(connection, uri, [certificate, root.certificate])
        (entry,) = read_keys(connection)
    assert entry.certificates == (certificate,)


def test_a_certificate_of_another_key_is_not_stored(token: TestToken) -> None:
    uri = token.generate("key", "p256")
    heard: list[DeviceEvent] = []
    with open_token(token.uri()) as connection, subscribe(heard.append):
        with pytest.raises(CeremonyError, match="public keys differ. Nothing was stored"):
            import_certificates(connection, uri, [Authority("CA").issue("other").certificate])
        with pytest.raises(CeremonyError, match="no certificate"):
            import_certificates(connection, uri, [])
        assert read_keys(connection)[0].certificates == ()
    assert [e.outcome for e in heard if isinstance(e, CeremonyStep)] == [OperationOutcome.REFUSED]


def test_a_deleted_key_takes_its_companions_along(token: TestToken) -> None:
    uri = token.generate("key", "p256")
    with open_key(uri) as key:
        certificate = Authority("CA").issue("node", key=key).certificate
    heard: list[CeremonyStep] = []
    with open_token(token.uri()) as connection, subscribe(heard.append, CeremonyStep):
        import_certificates(connection, uri, [certificate])
        delete_key(connection, uri)
        assert read_keys(connection) == []
        with connection.writable() as session:
            assert connection.objects(session).find({}) == []
        with pytest.raises(NoSuchKeyError):
            delete_key(connection, uri)
    named = {(e.spki_sha256, e.certificate_serial) for e in heard[:2]}
    assert named == {(compute_spki_sha256(certificate.public_key()), f"{certificate.serial_number:x}")}
    assert [(e.step, e.spki_sha256) for e in heard[2:]] == [("delete", "")]


def test_a_request_asks_for_what_the_key_is_for(token: TestToken) -> None:
    names = [x509.DNSName("ct1.example"), *(x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1"))]
    with open_key(token.generate("key")) as key:
        request = certificate_request(key, "CN=CT 1,O=Radiology", Usage.TLS, alternative_names=names)
        signing = certificate_request(key, "CN=CT 1", Usage.SIGN)
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=CT 1,O=Radiology"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ct1.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    extended = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in extended
    assert signing.extensions.get_extension_for_class(x509.KeyUsage).value.content_commitment


def test_a_changed_pin_is_the_one_that_works(token: TestToken, state_folder: object) -> None:
    module, new = load_module(MODULE), set_pin("24681357")
    info = find_token(module, token.uri())
    change_pin(module, info, parse_pin_source(token.pin), parse_pin_source(new))
    with open_token(token.uri(pin=False), pin=new) as connection:
        connection.connect()
    with pytest.raises(PinRefusedError), open_token(token.uri()) as connection:
        connection.connect()


def test_a_wrong_old_pin_changes_nothing_and_is_remembered(token: TestToken, state_folder: object) -> None:
    module, wrong = load_module(MODULE), set_pin("999999")
    info = find_token(module, token.uri())
    for expected in (PinRefusedError, PinNotPresentedError):
        with pytest.raises(expected):
            change_pin(module, info, parse_pin_source(wrong), parse_pin_source(set_pin("24681357")))


def test_a_new_pin_that_the_token_does_not_take_leaves_the_old_one_as_it_was(token: TestToken, state_folder) -> None:
    from tokens.errors import OperationFailedError
    from tokens.pins.refusals import RefusalMemory

    module = load_module(MODULE)
    info = find_token(module, token.uri())
    with pytest.raises(OperationFailedError, match="does not accept the new PIN"):
        change_pin(module, info, parse_pin_source(token.pin), parse_pin_source(set_pin("1")))
    assert RefusalMemory().refusals(token.serial) == []
    with open_token(token.uri()) as connection:
        connection.connect()


def test_a_label_is_given_once_and_fits(token: TestToken) -> None:
    with pytest.raises(CeremonyError, match="exists in"):
        initialise(token.label, set_pin("12345678"), set_pin("1234"))
    for label in ("", " ", "x" * 33, "ü" * 17):
        with pytest.raises(CeremonyError, match="32 bytes"):
            initialise(label, set_pin("12345678"), set_pin("1234"))


def test_erasing_wants_the_officers_pin_and_takes_everything(token: TestToken, state_folder: object) -> None:
    token.generate("key", "p256")
    pin = set_pin("13571357")
    with pytest.raises(PinRefusedError, match="SO PIN"):
        initialise("renamed", set_pin("999999"), pin, erase=token.uri())
    with pytest.raises(PinNotPresentedError, match="no PIN is presented unattended. Type it, with --so-pin prompt"):
        initialise("renamed", token.so_pin, pin, erase=token.uri())


def test_the_officers_pin_is_asked_for_first_and_by_what_it_is(token: TestToken) -> None:
    asked: list[str] = []

    class Asked:
        attended = True
        repeatable = False

        def read(self, purpose: str) -> Pin:
            asked.append(purpose)
            return Pin(b"13571357")

    label = f"{token.label} asked"
    module = load_module(MODULE)
    initialise_token(module, label, Asked(), Asked())
    assert asked == ["new SO PIN", "new user PIN"]
    asked.clear()
    made = find_token(module, Pkcs11Uri(token=label))
    initialise_token(module, label, Asked(), Asked(), erase=made.uri)
    assert asked == [f"SO PIN of token '{label}' (serial {made.serial})", "new user PIN"]


def test_erasing_with_the_right_pin(token: TestToken) -> None:
    token.generate("key", "p256")
    pin = set_pin("13571357")
    label = f"{token.label} again"
    made = initialise(label, token.so_pin, pin, erase=token.uri())
    assert made.label == label
    with open_token(Pkcs11Uri(token=label, module_path=MODULE), pin=pin) as connection:
        assert read_keys(connection) == []
    with pytest.raises(NoSuchTokenError):
        find_token(load_module(MODULE), token.uri())


def test_a_user_pin_that_the_token_does_not_take_is_reported(softhsm: object) -> None:
    from tokens.errors import OperationFailedError

    with pytest.raises(OperationFailedError, match="does not accept the user PIN"):
        initialise("short pin", set_pin("12345678"), set_pin("1"))


def test_a_signature_made_with_a_generated_key_verifies(token: TestToken) -> None:
    from cryptography.hazmat.primitives import hashes

    with open_key(token.generate("key", "rsa-3072")) as key:
        signature = key.sign(b"data", padding.PKCS1v15(), hashes.SHA384())
        key.public_key().verify(signature, b"data", padding.PKCS1v15(), hashes.SHA384())


@given(st.integers(0, 2**159))
def test_a_serial_number_is_a_der_integer(number: int) -> None:
    from asn1crypto.core import Integer

    assert Integer.load(_der_integer(number), strict=True).native == number


def test_a_key_gets_attributes_that_its_token_wants_beside_its_own(token: TestToken) -> None:
    wanted = [pack_attribute("CKA_MODIFIABLE", value=False)]
    with open_token(token.uri()) as connection:
        made = generate_key(connection, "key", KeyKind.P_256, Usage.SIGN, private_attributes=wanted)
        with connection.writable() as session:
            objects = connection.objects(session)
            [private] = objects.find({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
            assert objects.read(private, (Attribute.MODIFIABLE,)).flag(Attribute.MODIFIABLE) is False
    assert made.attributes.never_extractable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("CKA_EXTRACTABLE", True), ("CKA_SENSITIVE", False), ("0x162", True), ("CKA_DERIVE", True)),
        *(("CKA_SIGN", True), ("MODIFIABLE", False), ("CKA_NONE", 1), ("CKA_mro", 1), ("0x", 1), ("0x100000000", 1)),
        *(("CKA_MODIFIABLE", -1), ("CKA_MODIFIABLE", 1.5), ("CKA_MODIFIABLE", [1]), ("CKA_START_DATE", "0x0")),
    ],
)
def test_an_attribute_that_would_change_what_a_key_is_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"attribute|hexadecimal|invalid literal"):
        pack_attribute(name, value)
