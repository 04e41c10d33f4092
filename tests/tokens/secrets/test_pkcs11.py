"""What only a PKCS#11 token does: forms, directions, custody, healing."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from tests.softhsm import MODULE, TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tests.tokens.secrets.devices import Device
from tokens import open_secrets, open_token
from tokens.errors import (
    AuthenticationFailedError,
    CeremonyError,
    KeyPolicyError,
    MechanismNotOfferedError,
    NoSuchKeyError,
    UnsupportedKeyError,
)
from tokens.pkcs11.module import load_module
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret, list_secrets, try_forms
from tokens.policy import KeyPolicy, Weakness
from tokens.secrets import ZERO_IV, Use

KEY = "0123456789abcdef"
RANDOM = bytes.fromhex("1122334455667788")


def put(token: TestToken, use: Use, index: int, value: str, **options: Any) -> None:
    with open_token(token.uri()) as connection:
        import_secret(connection, use, index, bytearray.fromhex(value), **options)


def put_raw(token: TestToken, label: str, **attributes: Any) -> None:
    with open_token(token.uri()) as connection, connection.writable() as session:
        connection.objects(session).create(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.DES3,
                Attribute.TOKEN: True,
                Attribute.LABEL: label,
                Attribute.ENCRYPT: True,
                Attribute.DECRYPT: True,
                Attribute.VALUE: bytes.fromhex(KEY * 3),
                **{Attribute[name.upper()]: value for name, value in attributes.items()},
            }
        )


def test_softhsm_holds_a_key_twice_since_it_runs_no_single_des(token: TestToken) -> None:
    with open_token(token.uri()) as connection:
        trials = {trial.form.name: trial for trial in try_forms(connection)}
        entry = import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex(KEY))
    assert not trials["CKK_DES K"].ecb
    assert trials["CKK_DES2 K‖K"].rank == trials["CKK_DES3 K‖K‖K"].rank == (True, True, True)
    assert entry.info.form.name == "CKK_DES2 K‖K"
    assert entry.info.attributes.sensitive
    assert entry.info.attributes.extractable is False


def test_nss_runs_single_des_but_a_form_that_also_derives_is_preferred(nss: Device) -> None:
    with nss.open() as secrets:
        connection = secrets.device.connection  # type: ignore[attr-defined]
        trials = {trial.form.name: trial for trial in try_forms(connection)}
        entries = list_secrets(connection)
    assert trials["CKK_DES K"].rank == (True, True, False)
    assert trials["CKK_DES2 K‖K"].rank == (True, True, True)
    assert {entry.info.form.name for entry in entries} == {"CKK_DES2 K‖K"}


def test_a_secret_cannot_be_read_out(token: TestToken) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    with open_token(token.uri()) as connection:

        def read(worker: Any) -> list[object]:
            seen = []
            for found in connection.objects(worker.session).find({Attribute.CLASS: ObjectClass.SECRET_KEY}):
                try:
                    seen.append(connection.module.queries.attributes(worker.session, found, (Attribute.VALUE,)))
                except Exception as error:
                    seen.append(type(error).__name__)
            return seen

        assert connection.run(read, "read") == [{}]


def test_an_extractable_secret_is_refused_unless_explicitly_allowed(token: TestToken) -> None:
    put_raw(token, "secret-encryption-1", sensitive=True, extractable=True)
    with open_secrets(token.uri()) as secrets, pytest.raises(KeyPolicyError, match='allow = \\["extractable"\\]'):
        secrets.data_key(1)
    allowed = KeyPolicy(allow=frozenset({Weakness.EXTRACTABLE}))
    with open_secrets(token.uri(), policy=allowed) as secrets, secrets.data_key(1) as key:
        assert len(key.mac(bytes(8))) == 8


def test_the_object_of_the_uri_is_the_prefix_of_the_labels(token: TestToken) -> None:
    put(token, Use.AUTHENTICATION, 3, KEY, prefix="archive")
    with open_secrets(token.uri("archive")) as secrets, secrets.authentication(3) as a:
        assert len(a.internal_authenticate(bytes(8))) == 8
    with (
        open_secrets(token.uri()) as secrets,
        pytest.raises(NoSuchKeyError, match="It holds: archive-authentication-3"),
    ):
        secrets.check_value(Use.AUTHENTICATION, 3)


def test_a_key_for_one_direction_does_not_do_the_other(token: TestToken) -> None:
    put(token, Use.AUTHENTICATION, 1, "133457799bbcdff1", verifies=False)
    put(token, Use.AUTHENTICATION, 2, "7ca110454a1a6e57", answers=False)
    with open_secrets(token.uri()) as secrets:
        with secrets.authentication(1, peer_index=2) as a:
            a.internal_authenticate(bytes(8))
            _ = a.challenge
            with pytest.raises(AuthenticationFailedError):
                a.external_authenticate(bytes(8))
        with secrets.authentication(2, peer_index=1) as a:
            with pytest.raises(KeyPolicyError, match="CKA_ENCRYPT is false"):
                a.internal_authenticate(bytes(8))
            _ = a.challenge
            with pytest.raises(KeyPolicyError, match="CKA_DECRYPT is false"):
                a.external_authenticate(bytes(8))


def test_by_decryption_a_key_for_one_direction_does_the_other_one(token: TestToken) -> None:
    put(token, Use.AUTHENTICATION, 1, "133457799bbcdff1", verifies=False)
    put(token, Use.AUTHENTICATION, 2, "7ca110454a1a6e57", answers=False)
    with open_secrets(token.uri()) as secrets:
        with secrets.authentication(2, peer_index=1, by_decryption=True) as a:
            a.internal_authenticate(bytes(8))
            _ = a.challenge
            with pytest.raises(AuthenticationFailedError):
                a.external_authenticate(bytes(8))
        with secrets.authentication(1, peer_index=2, by_decryption=True) as a:
            with pytest.raises(KeyPolicyError, match="CKA_DECRYPT is false.. Import it for the other direction"):
                a.internal_authenticate(bytes(8))
            _ = a.challenge
            with pytest.raises(KeyPolicyError, match="CKA_ENCRYPT is false"):
                a.external_authenticate(bytes(8))


def test_one_value_for_authentication_and_encryption_is_refused(token: TestToken) -> None:
    put(token, Use.AUTHENTICATION, 1, KEY)
    with pytest.raises(CeremonyError, match="This is the key of 'secret-authentication-1'"):
        put(token, Use.ENCRYPTION, 1, KEY)


def test_a_taken_index_and_a_weak_key_are_refused(token: TestToken) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    with pytest.raises(CeremonyError, match="exists already"):
        put(token, Use.ENCRYPTION, 1, "133457799bbcdff1")
    with pytest.raises(CeremonyError, match="weak"):
        put(token, Use.ENCRYPTION, 2, "0101010101010101")
    with pytest.raises(CeremonyError, match="numbered from 1"):
        put(token, Use.ENCRYPTION, 0, "133457799bbcdff1")


def test_secrets_are_listed_with_check_values_and_deleted(token: TestToken) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    put(token, Use.AUTHENTICATION, 2, "133457799bbcdff1")
    with open_token(token.uri()) as connection:
        listed = list_secrets(connection)
        assert [(entry.use, entry.index) for entry in listed] == [(Use.AUTHENTICATION, 2), (Use.ENCRYPTION, 1)]
        assert listed[1].check_value == bytes.fromhex("d5d44f")
        delete_secret(connection, Use.ENCRYPTION, 1)
        assert [entry.index for entry in list_secrets(connection)] == [2]
        with pytest.raises(NoSuchKeyError):
            delete_secret(connection, Use.ENCRYPTION, 1)


def test_a_session_key_survives_a_module_that_was_initialised_again(token: TestToken) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    module = load_module(MODULE)
    with open_secrets(token.uri()) as secrets, secrets.session_key(1, RANDOM) as key:
        before = key.encrypt(b"Now is t", ZERO_IV)
        module.reinitialise(module.epoch)
        assert key.encrypt(b"Now is t", ZERO_IV) == before


def test_a_base_key_that_may_not_derive_needs_the_host(token: TestToken) -> None:
    put_raw(token, "secret-encryption-1", sensitive=True, extractable=False, derive=False)
    with open_secrets(token.uri()) as secrets, pytest.raises(MechanismNotOfferedError, match="CKA_DERIVE is false"):
        secrets.session_key(1, RANDOM)
    with open_secrets(token.uri(), host_session_keys=True) as secrets, secrets.session_key(1, RANDOM) as key:
        assert not key.on_device
        assert key.encrypt(b"Now is t", ZERO_IV).hex() == "c2d79a840ee7e735"
        assert key.value is not None
        assert key.value.hex() not in repr(key) + repr(key.device)


def test_long_data_goes_in_pieces_and_comes_out_the_same(token: TestToken) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    data = os.urandom(600 * 1024)
    with open_secrets(token.uri(), host_session_keys=True) as secrets, secrets.data_key(1) as key:
        ciphertext = key.encrypt(data, ZERO_IV)
        assert key.decrypt(ciphertext, ZERO_IV) == data
        assert key.mac(data) == ciphertext[-8:]
        assert key.encrypt(data[-8:], ciphertext[-16:-8]) == ciphertext[-8:]


PUT_TOGETHER = """
    from tokens.events import subscribe
    with tokens.open_secrets(uris[0]) as secrets, secrets.data_key(1) as key:
        def seal(held):
            print("begun")
            return held.encrypt(bytes(8) + held.mac(bytes(8)), bytes(8))
        wanted = key.encrypt(bytes(8) + key.mac(bytes(8)), bytes(8))
        print("known")
        with subscribe(lambda event: print(getattr(event, "operation", ""), getattr(event, "outcome", ""))):
            print(key.carry_out(seal) == wanted)
"""


def test_operations_together_need_one_session(token: TestToken, proxy: Proxy) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    proxy.rule("C_OpenSession sessions=2 rv=0xb1")  # one for the login, and one for all work
    printed = scenes.play(PUT_TOGETHER, proxy.serving(token.uri()), environment=proxy.environment())
    assert printed == ["known", "begun", "mac succeeded", "encrypt succeeded", "True"]


def test_operations_together_begin_again_if_the_token_is_lost_between_them(token: TestToken, proxy: Proxy) -> None:
    put(token, Use.ENCRYPTION, 1, KEY)
    proxy.rule("C_Encrypt rv=0x30 skip=3 times=1")  # a MAC is a C_Encrypt here, too
    printed = scenes.play(PUT_TOGETHER, proxy.serving(token.uri()), environment=proxy.environment())
    assert printed.count("begun") == 2, "CKR_DEVICE_ERROR ends the session, and the login"
    assert [line for line in printed if "mac" in line or "encrypt" in line] == ["mac succeeded", "encrypt succeeded"]
    assert printed[-1] == "True"


def test_a_secret_that_is_no_des_key_is_named(token: TestToken) -> None:
    put_raw(token, "secret-encryption-1", key_type=KeyType.AES, value=bytes(16), sensitive=True, extractable=False)
    with open_secrets(token.uri()) as secrets, pytest.raises(UnsupportedKeyError, match="not a DES key"):
        secrets.data_key(1)


def test_in_a_forked_child_the_secrets_work_again(token: TestToken) -> None:
    put(token, Use.AUTHENTICATION, 1, "133457799bbcdff1")
    with open_secrets(token.uri()) as secrets:
        secrets.check_value(Use.AUTHENTICATION, 1)
        child = os.fork()
        if not child:
            status = 1
            try:
                with secrets.authentication(1) as a:
                    answer = a.internal_authenticate(bytes.fromhex("0123456789abcdef"))
                status = 0 if answer.hex() == "85e813540f0ab405" else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert len(secrets.check_value(Use.AUTHENTICATION, 1)) == 3
