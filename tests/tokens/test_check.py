"""The acceptance test of a token, run on one that is good and on ones that are not."""

import time
from dataclasses import replace

import pytest

from tests.softhsm import TestToken
from tokens import open_token, trials
from tokens.errors import TokenLostError
from tokens.events import DeviceEvent, KeyUse, OperationOutcome, emit, subscribe
from tokens.pkcs11.ceremony import read_keys
from tokens.pkcs11.check import check_token, mechanism_name, reveals_private_value
from tokens.policy import KeyPolicy, Weakness


def test_on_a_good_token_each_operation_works_and_names_its_mechanism(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.1)
    told: list[str] = []
    with open_token(node.uri()) as connection:
        found = check_token(connection, node.uri("rsa"), KeyPolicy(), told.append)
    (key,) = found.keys
    assert key.allowed
    assert "CKM_RSA_PKCS" in found.mechanisms
    candidates = {o.operation: o.mechanism for o in key.operations}
    assert candidates["RSASSA-PKCS1-v1_5, RIPEMD160"] == "CKM_RSA_PKCS"
    assert candidates["RSASSA-PSS, SHA256"] == "CKM_SHA256_RSA_PKCS_PSS"
    assert all(o.works for o in key.operations)
    assert not key.readable
    assert key.rate_with_1_session > 0
    assert key.rate_with_4_sessions > 0
    assert told


def test_a_key_that_only_decrypts_is_not_asked_to_sign(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    with open_token(node.uri()) as connection:
        found = check_token(connection, node.uri("decrypt"), KeyPolicy())
    problems = {o.operation: o.problem for o in found.keys[0].operations}
    assert not any(operation.startswith("RSASSA") for operation in problems)
    assert problems["RSAES-PKCS1-v1_5 decryption"] == ""
    assert "OAEP" in problems["OAEP decryption, SHA256"]


def test_an_empty_token_is_tried_with_keys_that_vanish(token: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    with open_token(token.uri()) as connection:
        found = check_token(connection, token.uri(), KeyPolicy())
        assert [key.temporary for key in found.keys] == [True, True]
        assert all(key.operations[0].works for key in found.keys)
        assert read_keys(connection) == []
    rsa = found.keys[0]
    assert rsa.attributes.sign
    assert rsa.attributes.decrypt
    assert rsa.findings == ()  # a key for trying both is nobody's mistake


def test_a_rate_is_reported_once_and_each_trial_for_itself(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.2)
    heard: list[DeviceEvent] = []
    with open_token(node.uri()) as connection, subscribe(heard.append):
        found = check_token(connection, node.uri("rsa"), KeyPolicy(), secrets=True)
    uses = [event for event in heard if isinstance(event, KeyUse)]
    measured = [use for use in uses if use.count > 1]
    [key] = found.keys
    of_key = [use for use in measured if use.key_label == "rsa"]
    assert [use.mechanism for use in of_key] == [key.operations[0].mechanism] * 2  # with 1 session, with 4
    assert of_key[0].count >= 0.2 * key.rate_with_1_session * 0.9
    assert of_key[0].duration > 0.1
    assert {use.operation for use in measured if use not in of_key} == {"encrypt"}
    assert len([use for use in uses if use.key_label == "rsa" and use.count == 1]) == len(key.operations)


def test_what_fails_while_a_rate_is_measured_is_reported_at_once(monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    heard: list[DeviceEvent] = []
    done = KeyUse(
        token_serial="1",
        token_label="x",
        outcome=OperationOutcome.SUCCEEDED,
        duration=0.5,
        key_label="k",
        operation="sign",
        mechanism="M",
    )
    events = [done, done, replace(done, outcome=OperationOutcome.FAILED, reason="It broke.")]

    def job() -> None:
        event = events.pop(0)
        emit(event)
        if event.reason:
            raise TokenLostError(event.reason)

    with subscribe(heard.append), pytest.raises(TokenLostError):
        trials.measure_rate(job, 1)
    assert heard == [
        replace(done, outcome=OperationOutcome.FAILED, reason="It broke."),
        replace(done, count=2, duration=1.0),
    ]


def test_a_key_that_can_be_read_is_found_out(token: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    from pkcs11 import Attribute

    from tokens.pkcs11.key_pairs import KeyKind, generate_pair

    with open_token(token.uri()) as connection:
        with connection.writable() as session:
            named = {Attribute.TOKEN: True, Attribute.LABEL: "open", Attribute.ID: b"\x01"}
            readable = {**named, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
            generate_pair(connection.module.queries, session, KeyKind.RSA_2048, named, readable)
        uri = token.uri("open")
        assert reveals_private_value(connection, uri)
        found = check_token(connection, uri, KeyPolicy())
    (key,) = found.keys
    assert key.readable
    assert {Weakness.EXTRACTABLE, Weakness.NOT_SENSITIVE} <= {f.weakness for f in key.findings if f.refusal}
    assert not key.allowed


def test_secrets_are_tried_with_the_whole_token_and_else_when_asked_for(node: TestToken, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.01)
    with open_token(node.uri()) as connection:
        assert check_token(connection, node.uri(), KeyPolicy()).secrets is not None
        assert check_token(connection, node.uri("rsa"), KeyPolicy()).secrets is None
        assert check_token(connection, node.uri("rsa"), KeyPolicy(), secrets=True).secrets is not None


def test_a_job_longer_than_its_time_is_not_counted_as_a_fast_one(monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.01)
    assert 0 < trials.measure_rate(lambda: time.sleep(0.1), 1) <= 10


def test_what_works_has_a_rate_even_if_its_time_was_over_before_it_began(monkeypatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", -1)
    assert trials.measure_rate(lambda: None, 4) > 0


def test_a_vendors_mechanism_is_shown_by_number() -> None:
    assert mechanism_name(0x80000001) == "0x80000001"
