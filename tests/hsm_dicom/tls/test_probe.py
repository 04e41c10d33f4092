"""What a probe finds out about servers, ours and others."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from hsm_dicom.tls import FailureReason, HandshakeError, get_profile, server_context
from hsm_dicom.tls.contexts import AuthenticationMode
from hsm_dicom.tls.hello import _NoServerHelloError, parse_server_hello
from hsm_dicom.tls.openssl import has_group
from hsm_dicom.tls.probe import probe
from hsm_dicom.trust import Reason
from tests import pki
from tests.hsm_dicom.tls.fixtures import WITHOUT_CCM_8, Hospital, names


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[int]:
    """Shake hands with everybody, one after the other, and wait for them to leave."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.settimeout(0.05)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                connection.settimeout(2)
                with contextlib.suppress(OSError), connection:
                    if context is None:
                        connection.recv(100)
                        connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")
                    else:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            secured.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stopping.set()
            thread.join(10)


def test_our_own_server_is_found_to_be_what_its_profile_says(hospital: Hospital) -> None:
    profile = get_profile("modified-bcp195-rfc9325")
    with serving(server_context([hospital.rsa, hospital.ec], hospital.validator(), profile=profile)) as port:
        found = probe("127.0.0.1", port, validator=hospital.validator(), profile=profile)
    assert found.acceptable
    assert found.remarks == ()
    assert [offer.version for offer in found.offers] == ["TLSv1.3", "TLSv1.2"]
    lacks_short_tags = ssl.OPENSSL_VERSION_INFO >= WITHOUT_CCM_8
    required = {suite.name for suite in profile.required if not (lacks_short_tags and "CCM_8" in suite.name)}
    assert required <= {name for offer in found.offers for name in offer.suites}
    assert all(offer.server_order for offer in found.offers if offer.version == "TLSv1.2")
    assert set(found.groups) == set(profile.groups)
    assert found.wants_certificate
    assert found.verdict is not None
    assert found.verdict.trusted


def test_one_way_servers_and_client_order_are_recognised(hospital: Hospital) -> None:
    with serving(server_context([hospital.rsa], None, authentication=AuthenticationMode.ONE_WAY)) as port:
        found = probe("127.0.0.1", port, validator=hospital.validator())
    assert found.wants_certificate is False
    assert not any(offer.server_order for offer in found.offers)
    hybrids = [name for name in get_profile("bcp195-rfc9325").additional_groups if has_group(name)]
    assert set(found.groups) == {*hybrids, *get_profile("bcp195-rfc9325").groups}
    assert found.groups[0] in (hybrids or found.groups)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_an_old_server_is_told_what_to_switch_off(hospital: Hospital) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(*hospital.files(hospital.peer("old", key=pki.new_key("rsa2048"))))
    with serving(context) as port:
        found = probe("127.0.0.1", port, validator=hospital.validator())
    assert [offer.version for offer in found.offers] == ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1.0"]
    assert any("It still supports TLSv1.0" in remark for remark in found.remarks)
    assert any("TLS_RSA_WITH_AES_128_CBC_SHA" in remark for remark in found.remarks)
    assert found.acceptable


def test_a_certificate_for_another_name_or_of_another_ca_is_remarked_upon(hospital: Hospital) -> None:
    foreign = hospital.peer("foreign", issuer=pki.Authority("Foreign CA"), extensions=[names(("pacs.example",), ())])
    with serving(server_context([foreign], None, authentication=AuthenticationMode.ONE_WAY)) as port:
        found = probe("127.0.0.1", port, validator=hospital.validator())
    assert not found.acceptable
    assert not found.name_fits
    assert any("another name (pacs.example)" in remark for remark in found.remarks)
    assert found.verdict is not None
    assert found.verdict.reason is Reason.NO_PATH


def test_a_server_without_tls_and_an_empty_port_are_distinguished(hospital: Hospital) -> None:
    with serving(None) as port, pytest.raises(HandshakeError, match="may use DICOM without TLS") as caught:
        probe("127.0.0.1", port, seconds=2)
    assert caught.value.reason is FailureReason.NOT_TLS
    with pytest.raises(HandshakeError, match="cannot be reached"):
        probe("127.0.0.1", port, seconds=2)


@pytest.mark.parametrize(
    "message", [b"", b"\x02", b"\x02\x00\x00\x40\x03\x03" + bytes(33) + b"\xff", b"\x0b\x00\x00\x00"]
)
def test_a_broken_server_hello_is_an_error_of_its_own(message: bytes) -> None:
    with pytest.raises(_NoServerHelloError):
        parse_server_hello(message)
