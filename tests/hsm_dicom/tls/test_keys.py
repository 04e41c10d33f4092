"""Kinds of keys behind a handshake: tokens without PSS, keys that fail, keys that come back."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm_dicom.identity import Identity
from hsm_dicom.tls import FailureReason, client_context, facts_of, handshake_failed, server_context
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tests.hsm_dicom.tls.handshakes import handshake
from tests.softhsm import TestToken
from tokens import events, open_key
from tokens.events import DeviceEvent, KeyUse
from tokens.uri import Pkcs11Uri

P11_KIT_CLIENT = Path("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so")
BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def remote_module(node: TestToken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same SoftHSM behind p11-kit's remoting, with RSA mechanisms but for PSS."""
    folder = tmp_path_factory.mktemp("p11")
    socket, configuration = folder / "socket", folder / "softhsm2.conf"
    mechanisms = "CKM_RSA_PKCS,CKM_RSA_X_509,CKM_SHA256_RSA_PKCS"
    complete = Path(os.environ["SOFTHSM2_CONF"]).read_text()
    configuration.write_text(complete.replace("slots.mechanisms = ALL", f"slots.mechanisms = {mechanisms}"))
    command = ["p11-kit", "server", "-f", "-n", str(socket), "--provider", "/usr/lib/softhsm/libsofthsm2.so"]
    process = subprocess.Popen(
        [*command, f"pkcs11:token={node.label}"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "SOFTHSM2_CONF": str(configuration)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.environ["P11_KIT_SERVER_ADDRESS"] = f"unix:path={socket}"
        yield P11_KIT_CLIENT
    finally:
        process.terminate()
        process.wait(10)


@BOTH_VERSIONS
def test_a_token_without_pss_serves_tls_1_3_by_raw_rsa(
    hospital: Hospital, node: TestToken, remote_module: Path, version: ssl.TLSVersion
) -> None:
    uri = Pkcs11Uri(token=node.label, object="rsa", module_path=remote_module, pin_source=node.pin)
    heard: list[DeviceEvent] = []
    with open_key(uri) as key, events.subscribed(heard.append):
        identity = Identity("remote", key, hospital.rsa.certificate)
        client = client_context(hospital.peer(), hospital.verifier())
        client.minimum_version = client.maximum_version = version
        ends = handshake(server_context([identity], hospital.verifier()), client)
        assert ends.exchange(b"DICOM") == b"DICOM"
    used = [event.mechanism for event in heard if isinstance(event, KeyUse)]
    assert used == ["CKM_RSA_X_509"]


@BOTH_VERSIONS
def test_a_key_that_was_closed_ends_the_handshake_with_its_own_sentence(
    hospital: Hospital, node: TestToken, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    key = open_key(node.uri("rsa"))
    server = server_context([Identity("gone", key, hospital.rsa.certificate)], hospital.verifier())
    client = client_context(hospital.peer(), hospital.verifier())
    client.minimum_version = client.maximum_version = version
    key.close()
    with pytest.raises(ssl.SSLError) as caught:
        handshake(server, client)
    failed = handshake_failed(caught.value, "192.0.2.1")
    assert failed.reason is FailureReason.OWN_KEY
    assert "was closed" in str(failed)
    assert "Traceback" not in caplog.text


def test_an_earlier_failure_of_a_key_is_not_taken_for_the_reason_of_a_later_one(
    hospital: Hospital, node: TestToken
) -> None:
    key = open_key(node.uri("rsa"))
    server = server_context([Identity("gone", key, hospital.rsa.certificate)], hospital.verifier())
    key.close()
    with pytest.raises(ssl.SSLError):
        handshake(server, client_context(hospital.peer(), hospital.verifier()))
    with pytest.raises(ssl.SSLError) as caught:
        handshake(
            server_context([hospital.rsa], hospital.verifier()),
            client_context(hospital.peer(), hospital.verifier()),
            host="pacs.example",
        )
    assert handshake_failed(caught.value, "192.0.2.1").reason is FailureReason.WRONG_NAME


@BOTH_VERSIONS
def test_p_384_signs_with_the_hash_of_its_size(hospital: Hospital, node: TestToken, version: ssl.TLSVersion) -> None:
    with open_key(node.uri("ec384")) as key:
        issued = hospital.ca.issue("node ec384", key=key, extended=BOTH_SIDES, extensions=[names()])
        server = server_context([Identity("ec384", key, issued.certificate)], hospital.verifier())
        client = client_context(hospital.peer(), hospital.verifier())
        client.minimum_version = client.maximum_version = version
        assert facts_of(handshake(server, client).client, "any").version == version.name.replace("v1_", "v1.")
