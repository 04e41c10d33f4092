"""Kinds of keys behind a handshake: tokens without PSS, keys that fail, keys that come back."""

from __future__ import annotations

import ssl

import pytest

from hsm_dicom.identity import Identity
from hsm_dicom.tls import FailureReason, client_context, get_tls_facts, make_handshake_error, server_context
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, RemoteSoftHSM, names
from tests.hsm_dicom.tls.handshakes import handshake
from tests.softhsm import TestToken
from tokens import events, open_key
from tokens.events import DeviceEvent, KeyUse
from tokens.uri import Pkcs11Uri

BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@BOTH_VERSIONS
def test_a_token_without_pss_serves_tls_1_3_by_raw_rsa(
    hospital: Hospital, node: TestToken, remote: RemoteSoftHSM, version: ssl.TLSVersion
) -> None:
    uri = Pkcs11Uri(token=node.label, object="rsa", module_path=remote.module, pin_source=node.pin)
    heard: list[DeviceEvent] = []
    with open_key(uri) as key, events.subscribe(heard.append):
        identity = Identity("remote", key, hospital.rsa.certificate)
        client = client_context(hospital.peer(), hospital.validator())
        client.minimum_version = client.maximum_version = version
        ends = handshake(server_context([identity], hospital.validator()), client)
        assert ends.exchange(b"DICOM") == b"DICOM"
    used = [event for event in heard if isinstance(event, KeyUse)]
    assert [event.mechanism for event in used] == ["CKM_RSA_X_509"]
    assert [event.certificate_serial for event in used] == [f"{hospital.rsa.certificate.serial_number:x}"]


@BOTH_VERSIONS
def test_a_key_that_was_closed_ends_the_handshake_with_its_own_sentence(
    hospital: Hospital, node: TestToken, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    key = open_key(node.uri("rsa"))
    server = server_context([Identity("gone", key, hospital.rsa.certificate)], hospital.validator())
    client = client_context(hospital.peer(), hospital.validator())
    client.minimum_version = client.maximum_version = version
    key.close()
    with pytest.raises(ssl.SSLError) as caught:
        handshake(server, client)
    failed = make_handshake_error(caught.value, "192.0.2.1")
    assert failed.reason is FailureReason.OWN_KEY
    assert "was closed" in str(failed)
    assert "Traceback" not in caplog.text


def test_an_earlier_failure_of_a_key_is_not_taken_for_the_reason_of_a_later_one(
    hospital: Hospital, node: TestToken
) -> None:
    key = open_key(node.uri("rsa"))
    server = server_context([Identity("gone", key, hospital.rsa.certificate)], hospital.validator())
    key.close()
    with pytest.raises(ssl.SSLError):
        handshake(server, client_context(hospital.peer(), hospital.validator()))
    with pytest.raises(ssl.SSLError) as caught:
        handshake(
            server_context([hospital.rsa], hospital.validator()),
            client_context(hospital.peer(), hospital.validator()),
            host="pacs.example",
        )
    assert make_handshake_error(caught.value, "192.0.2.1").reason is FailureReason.WRONG_NAME


@BOTH_VERSIONS
def test_p_384_signs_with_the_hash_of_its_size(hospital: Hospital, node: TestToken, version: ssl.TLSVersion) -> None:
    with open_key(node.uri("ec384")) as key:
        issued = hospital.ca.issue("node ec384", key=key, extended=BOTH_SIDES, extensions=[names()])
        server = server_context([Identity("ec384", key, issued.certificate)], hospital.validator())
        client = client_context(hospital.peer(), hospital.validator())
        client.minimum_version = client.maximum_version = version
        assert get_tls_facts(handshake(server, client).client, "any").version == version.name.replace("v1_", "v1.")
