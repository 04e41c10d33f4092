"""The acceptance test of a token, run on one that is good and on ones that are not."""

from tests.softhsm import TestToken
from tokens import open_token, trials
from tokens.pkcs11.ceremony import keys_of
from tokens.pkcs11.check import check_token, gives_away_private_value, mechanism_name
from tokens.policy import KeyPolicy, Weakness


def test_a_good_token_is_ready_and_each_operation_names_its_rung(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.1)
    told: list[str] = []
    with open_token(node.uri()) as connection:
        found = check_token(connection, node.uri("rsa"), KeyPolicy(), told.append)
    (key,) = found.keys
    assert found.dicom_ready
    assert "CKM_RSA_PKCS" in found.mechanisms
    rungs = {o.operation: o.mechanism for o in key.operations}
    assert rungs["RSASSA-PKCS1-v1_5, RIPEMD160"] == "CKM_RSA_PKCS"
    assert rungs["RSASSA-PSS, SHA256"] == "CKM_SHA256_RSA_PKCS_PSS"
    assert all(o.works for o in key.operations)
    assert not key.readable
    assert key.rate_with_1_session > 0
    assert key.rate_with_4_sessions > 0
    assert told


def test_a_key_that_only_decrypts_does_not_make_a_token_ready(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    with open_token(node.uri()) as connection:
        found = check_token(connection, node.uri("decrypt"), KeyPolicy())
    problems = {o.operation: o.problem for o in found.keys[0].operations}
    assert not found.dicom_ready
    assert problems["RSAES-PKCS1-v1_5 decryption"] == ""
    assert "OAEP" in problems["OAEP decryption, SHA256"]


def test_an_empty_token_is_tried_with_keys_that_vanish(token: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    with open_token(token.uri()) as connection:
        found = check_token(connection, token.uri(), KeyPolicy())
        assert [key.temporary for key in found.keys] == [True, True]
        assert found.dicom_ready
        assert keys_of(connection) == []


def test_a_key_that_can_be_read_is_found_out(token: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    from pkcs11 import Attribute, KeyType

    with open_token(token.uri()) as connection:
        with connection.writable() as session:
            session.generate_keypair(
                KeyType.RSA,
                2048,
                store=True,
                label="open",
                id=b"\x01",
                private_template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )
        uri = token.uri("open")
        assert gives_away_private_value(connection, uri)
        found = check_token(connection, uri, KeyPolicy())
    (key,) = found.keys
    assert key.readable
    assert {Weakness.EXTRACTABLE, Weakness.NOT_SENSITIVE} <= {f.weakness for f in key.findings if f.refusal}
    assert not found.dicom_ready


def test_a_vendors_mechanism_is_shown_by_number() -> None:
    assert mechanism_name(0x80000001) == "0x80000001"
