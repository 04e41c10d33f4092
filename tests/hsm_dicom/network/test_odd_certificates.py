"""Certificates with encodings that are not allowed end in one sentence, wherever they come from; nothing crashes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.network.echo import echo
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import HandshakeFailed
from tests import pki
from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tests.pki import odd
from tests.softhsm import MODULE, TestToken

ODD: dict[str, tuple[Callable[[pki.Identity, pki.Authority], bytes], str]] = {
    "T61String": (lambda issued, ca: odd.with_text(issued, ca, odd.T61), "subject that cannot be read"),
    "PrintableString": (lambda issued, ca: odd.with_text(issued, ca, odd.PRINTABLE), "name that cannot be read"),
    "UTCTime with an offset": (odd.with_offset, "date that cannot be read"),
}
EVERY_KIND = pytest.mark.parametrize("kind", ODD)


@pytest.fixture
def files(hospital: Hospital, tmp_path: Path, kind: str) -> tuple[Path, Path]:
    """An odd certificate and its key, as PEM files."""
    key = pki.new_key("rsa2048")
    wishes = {"key": key, "extended": BOTH_SIDES, "usages": ("digital_signature",), "extensions": [names()]}
    issued = hospital.ca.issue(odd.PLAIN, **wishes)
    certificate, key_file = tmp_path / "odd.pem", tmp_path / "odd.key"
    certificate.write_bytes(odd.pem(ODD[kind][0](issued, hospital.ca)))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o600)
    return certificate, key_file


@EVERY_KIND
def test_a_client_with_an_odd_certificate_is_refused_in_a_sentence(
    hospital: Hospital, files: tuple[Path, Path], kind: str
) -> None:
    context = ssl.create_default_context(cafile=str(hospital.ca_file))
    context.load_cert_chain(*files)
    with node(hospital) as running:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", running.port), 5) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as secured,
        ):
            secured.recv(1)
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.CERTIFICATE_REFUSED
    assert ODD[kind][1] in event.text
    assert "issued anew" in event.text


@contextlib.contextmanager
def serving(files: tuple[Path, Path]) -> Iterator[int]:
    """A TLS server that shows an odd certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError), listening.accept()[0] as raw:
                context.wrap_socket(raw, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


@EVERY_KIND
def test_a_server_with_an_odd_certificate_is_refused_in_a_sentence(
    hospital: Hospital, files: tuple[Path, Path], kind: str
) -> None:
    with serving(files) as port:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port)
        with pytest.raises(HandshakeError) as caught:
            echo(peer, transport_to(peer, hospital), "NODE", TIMEOUTS)
    assert caught.value.reason is FailureReason.CERTIFICATE_REFUSED
    assert ODD[kind][1] in str(caught.value)


@EVERY_KIND
def test_an_identity_or_an_anchor_with_an_odd_certificate_is_a_problem_of_the_configuration(
    run: Run, tmp_path: Path, files: tuple[Path, Path], kind: str
) -> None:
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(
        '[identities.odd]\nkey = "file:odd.key"\ncertificate = "odd.pem"\nallow = ["file-key"]\n'
        '[trust]\nanchors = ["odd.pem"]\n'
    )
    config.chmod(0o600)
    result = run("check-config", "--config", config)
    assert result.status == 1
    assert result.said.count(ODD[kind][1]) == 2
    assert "Unexpected error" not in result.said


@EVERY_KIND
def test_an_odd_certificate_is_not_imported(
    run: Run, token: TestToken, tmp_path: Path, files: tuple[Path, Path], kind: str
) -> None:
    key = token.generate("odd")
    imported = run("key", "import-cert", str(key), files[0], "--module", MODULE, "--pin", token.pin)
    assert imported.status == 1
    assert ODD[kind][1] in imported.said
    assert "Unexpected error" not in imported.said
