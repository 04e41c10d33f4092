"""Plumbing of `tls`: handshakes beside OpenSSL's pkcs11-provider, the same key on SoftHSM, a process for each side.

Both processes have the same shape: one client of ours with a key in a file, one server, full mutual handshakes in
memory. Only the server differs: `server_context` with the token's key, or a plain `ssl.SSLContext` that reaches the
same key through the provider. Both verify the client's certificate; ours has `hsm_dicom.trust` judge it as well.

SoftHSM works inside the process and nothing waits, so the ratio is one of processor time, which other work on the
machine does not disturb; the handshakes a second by the clock stand beside it.
"""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from asn1crypto.core import Sequence, UTF8String, VisibleString  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from benchmarks.rows import Row, in_turns
from hsm_dicom.identity import Identity, read_certificates
from hsm_dicom.tls import client_context, server_context
from hsm_dicom.trust import CertificateValidator, TrustStore
from tests import pki
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.hsm_dicom.tls.handshakes import handshake
from tests.softhsm import MODULE
from tokens import open_key
from tokens.uri import Pkcs11Uri

PROVIDER = next(Path("/usr/lib").glob("**/ossl-modules/pkcs11.so"), None)
HANDSHAKES = 40
TURNS = 15  # many and short: the difference is small beside what a busy machine does to one turn
VERSIONS = {"TLS 1.3": ssl.TLSVersion.TLSv1_3, "TLS 1.2": ssl.TLSVersion.TLSv1_2}

_Ask = Callable[[str, int], tuple[object, float]]
"""Asks a process for so many handshakes of a version: the suite, and the seconds of processor time that they took."""


@dataclass(frozen=True)
class _Files:
    """What both processes read."""

    ca: Path
    certificate: Path
    peer: Path
    peer_key: Path
    wrapped_uri: Path

    @property
    def validator(self) -> CertificateValidator:
        return CertificateValidator(TrustStore.from_files(anchors=[self.ca]))


def run(folder: Path, hospital: Hospital, uri: Pkcs11Uri, pin: str) -> Iterator[Row]:
    """A row for each version of TLS, or one that says what is missing."""
    if PROVIDER is None:
        remedy = "not installed: apt-get install -t bookworm-backports pkcs11-provider"
        yield Row("mutual handshakes beside pkcs11-provider", "", remedy)
        return
    files = _files(folder, hospital, uri)
    with _process(_ours, files, uri) as ours, _process(_theirs, files, configuration=_configure(folder, pin)) as theirs:
        asks = {"ours": ours, "theirs": theirs}
        for version in VERSIONS:
            chosen = {side: ask(version, 1)[0] for side, ask in asks.items()}
            if chosen["ours"] != chosen["theirs"]:
                raise RuntimeError(f"The servers chose different suites: {chosen}")
            spent: dict[str, list[float]] = {"ours": [], "theirs": []}

            def turn(side: str, version: str = version, spent: dict[str, list[float]] = spent) -> None:
                spent[side].append(asks[side](version, HANDSHAKES)[1])

            elapsed = in_turns({side: partial(turn, side) for side in asks}, TURNS)
            processor = {side: statistics.median(seconds) for side, seconds in spent.items()}
            yield Row(
                f"mutual handshakes, {version}, beside pkcs11-provider",
                _rates(processor["ours"], elapsed["ours"]),
                _rates(processor["theirs"], elapsed["theirs"]),
                processor["theirs"] / processor["ours"],
                ">= 0.9",
            )


def _rates(processor: float, elapsed: float) -> str:
    return f"{HANDSHAKES / processor:.0f} a processor second, {HANDSHAKES / elapsed:.0f} a second"


def _files(folder: Path, hospital: Hospital, uri: Pkcs11Uri) -> _Files:
    certificate, wrapped = folder / "provider-node.pem", folder / "provider-uri.pem"
    certificate.write_bytes(pki.Identity(hospital.rsa.certificate, None).pem)
    wrapped.write_text(_wrapped(f"pkcs11:token={uri.token};object={uri.object};type=private"))
    return _Files(hospital.ca_file, certificate, *hospital.files(hospital.peer("CT 1")), wrapped)


class _WrappedUri(Sequence):  # type: ignore[misc]
    """What the provider's decoder takes for a private key: provider-pkcs11(7), "URIs in PEM files"."""

    _fields: ClassVar = [("description", VisibleString), ("uri", UTF8String)]


def _wrapped(uri: str) -> str:
    der = _WrappedUri({"description": "PKCS#11 Provider URI v1.0", "uri": uri}).dump()
    label = "PKCS#11 PROVIDER URI"
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def _configure(folder: Path, pin: str) -> Path:
    """An openssl.cnf that activates the provider. The PIN is in a file, the only unattended way that it has."""
    pin_file, configuration = folder / "provider-pin", folder / "provider.cnf"
    pin_file.touch(0o600)
    pin_file.write_text(f"{pin}\n")
    configuration.write_text(
        "openssl_conf = openssl\n"
        "[openssl]\nproviders = providers\n"
        "[providers]\ndefault = built_in\npkcs11 = token\n"
        "[built_in]\nactivate = 1\n"
        f"[token]\nmodule = {PROVIDER}\npkcs11-module-path = {MODULE}\n"
        f"pkcs11-module-token-pin = file:{pin_file}\nactivate = 1\n"
    )
    return configuration


@contextlib.contextmanager
def _process(
    server: Callable[..., ssl.SSLContext], *arguments: Any, configuration: Path | None = None
) -> Iterator[_Ask]:
    """A process that makes so many handshakes of a version when it is asked."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_shake_hands, args=(there, server, *arguments))
    with _openssl_configuration(configuration):
        process.start()
    there.close()

    def ask(version: str, count: int) -> tuple[object, float]:
        here.send((version, count))
        suite, seconds = here.recv()
        return suite, seconds

    try:
        yield ask
    finally:
        here.close()
        process.join(30)
        if process.is_alive():
            process.kill()


@contextlib.contextmanager
def _openssl_configuration(path: Path | None) -> Iterator[None]:
    """OPENSSL_CONF for the processes that start meanwhile."""
    if path is None:
        yield
        return
    before = os.environ.get("OPENSSL_CONF")
    os.environ["OPENSSL_CONF"] = str(path)
    try:
        yield
    finally:
        del os.environ["OPENSSL_CONF"]
        if before is not None:
            os.environ["OPENSSL_CONF"] = before


def _shake_hands(asked: Any, make_server: Callable[..., ssl.SSLContext], files: _Files, *arguments: Any) -> None:
    server = make_server(files, *arguments)
    clients = {}
    key: Any = load_pem_private_key(files.peer_key.read_bytes(), None)
    peer = Identity("CT 1", key, read_certificates(files.peer)[0])
    for name, version in VERSIONS.items():
        clients[name] = client_context(peer, files.validator)
        clients[name].maximum_version = version
    with contextlib.suppress(EOFError):
        while True:
            name, count = asked.recv()
            started = time.process_time()
            for _ in range(count):
                ends = handshake(server, clients[name])
            asked.send((ends.server.cipher(), time.process_time() - started))


def _ours(files: _Files, uri: Pkcs11Uri) -> ssl.SSLContext:
    identity = Identity("node", open_key(uri), read_certificates(files.certificate)[0])
    return server_context([identity], files.validator)


def _theirs(files: _Files) -> ssl.SSLContext:
    """Like ours, it leaves the order of suites to the client and lets no session be resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.wrapped_uri)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
