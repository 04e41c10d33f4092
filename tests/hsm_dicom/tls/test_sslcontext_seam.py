"""Canaries for `sslcontext` and for the layout of `ssl.SSLContext`, which hsm_dicom/tls/_sslcontext.py uses."""

from __future__ import annotations

import ctypes
import re
import socket
import ssl
from importlib.metadata import version
from pathlib import Path

import pytest
import sslcontext

from hsm_dicom.tls import _sslcontext as seam
from hsm_dicom.tls import openssl
from hsm_dicom.tls.errors import ContextError
from tests.seams import explain, require_attributes, require_method

ROOT = Path(__file__).parents[3]
SIDES = pytest.mark.parametrize("side", [ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER], ids=lambda side: side.name)


def test_the_version_is_the_pinned_one() -> None:
    pinned = re.search(r'"sslcontext==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert version("sslcontext") == pinned[1]


def test_the_functions_that_are_called_are_as_expected() -> None:
    require_method("sslcontext", seam, sslcontext, "load_identity", ("context", "identity"))
    require_method(
        "sslcontext", seam, sslcontext.Identity, "__init__", ("self", "certificate", "signer", "chain", "label")
    )
    require_attributes("sslcontext", seam, sslcontext, ("CredentialError", "UnsupportedOpenSSLError"))
    assert seam._provider._PROPERTIES.startswith(b"provider=sslcontext"), explain("sslcontext", seam, "has changed")
    assert seam.find_libraries.__code__.co_argcount == 0, explain("sslcontext", seam, "has changed find_libraries")
    assert seam.ssl_ctx_pointer.__code__.co_varnames[:2] == ("lib", "context"), explain(
        "sslcontext", seam, "has changed ssl_ctx_pointer"
    )


@SIDES
def test_the_pointer_leads_to_the_context_of_openssl(side: ssl._SSLMethod) -> None:
    context = ssl.SSLContext(side)
    library, _ = seam.open_libraries()
    library.SSL_CTX_get_options.restype = ctypes.c_uint64
    library.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET):
        context.options |= option
        found = library.SSL_CTX_get_options(seam.context_pointer(context))
        assert found == int(context.options) & (2**64 - 1), explain("sslcontext", seam, "finds another SSL_CTX")


@SIDES
@pytest.mark.parametrize("offset", [-8, 8, 16], ids=["before", "after", "far"])
def test_another_layout_of_the_context_is_refused_before_a_call(
    side: ssl._SSLMethod, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "_proven", set())
    monkeypatch.setattr(seam, "HEADER_BYTES", seam.HEADER_BYTES + offset)
    monkeypatch.setattr(seam, "ssl_ctx_pointer", lambda lib, context: pytest.fail("called through a wrong pointer"))
    context = ssl.SSLContext(side)
    with pytest.raises(ContextError, match=r"the first member of ssl\.SSLContext is not the SSL_CTX\); use a Python"):
        openssl.set_groups(context, ["P-256"])


def test_the_pointer_leads_to_the_connection_of_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    pointer = seam.connection_pointer(connection)
    assert pointer, explain("sslcontext", seam, "does not find the SSL behind a connection")
    library, _ = seam.open_libraries()
    library.SSL_get_SSL_CTX.restype, library.SSL_get_SSL_CTX.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    assert library.SSL_get_SSL_CTX(pointer) == seam.context_pointer(context)


def test_without_a_proof_no_pointer_to_a_connection_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    seam._knows_connections.cache_clear()
    with monkeypatch.context() as changed:
        changed.setattr(seam, "_CONNECTION_BYTES", 8)  # too little to find the SSL_CTX in
        assert openssl.get_group(connection) is None
    seam._knows_connections.cache_clear()
    assert seam.connection_pointer(connection)


def test_a_context_of_another_protocol_is_refused() -> None:
    with pytest.warns(DeprecationWarning, match="PROTOCOL_TLS"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS)
    with pytest.raises(ContextError, match="PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER"):
        seam.context_pointer(context)


def test_every_function_of_openssl_that_is_called_exists() -> None:
    libraries = openssl._libraries()
    assert libraries.crypto.OPENSSL_sk_num(None) == -1


def test_settings_by_number_have_their_effect() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    openssl.set_tls13_suites(context, ["TLS_AES_128_GCM_SHA256"])
    names = [str(cipher["name"]) for cipher in context.get_ciphers()]
    assert [name for name in names if name.startswith("TLS_")] == ["TLS_AES_128_GCM_SHA256"]
    openssl.keep_no_sessions(context)
    library, _ = seam.open_libraries()
    library.SSL_CTX_ctrl.restype = ctypes.c_long
    library.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    get_session_cache_mode = 45
    assert library.SSL_CTX_ctrl(seam.context_pointer(context), get_session_cache_mode, 0, None) == 0
    with pytest.raises(ContextError, match="refuses the groups no-such-group"):
        openssl.set_groups(context, ["no-such-group"])
    with pytest.raises(ContextError, match="refuses the signature algorithms none"):
        openssl.set_signature_algorithms(context, ["none"], ["none"])


def test_no_other_module_uses_sslcontext_or_its_internals() -> None:
    users = [
        str(path.relative_to(ROOT))
        for folder in ("hsm_dicom", "tokens")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"^\s*(from|import) sslcontext\b", path.read_text(), re.M)
    ]
    assert users == ["hsm_dicom/tls/_sslcontext.py"]


@SIDES
@pytest.mark.parametrize("kind", ["socket", "bio"])
def test_every_connection_is_begun_by_the_methods_that_choose_its_certificates(side: ssl._SSLMethod, kind: str) -> None:
    context, chosen = seam.SelectingContext(side), ssl.SSLContext(side)
    context.check_hostname = False
    asked: list[ssl.SSLContext] = []
    context.select = lambda: asked.append(chosen) or chosen  # type: ignore[func-returns-value]
    server = side is ssl.PROTOCOL_TLS_SERVER
    if kind == "bio":
        connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=server)
    else:
        ours, theirs = socket.socketpair()
        with theirs:
            connection = context.wrap_socket(ours, server_side=server, do_handshake_on_connect=False)
            connection.close()
    assert asked == [chosen], explain("Python", seam, "begins connections in another way")
    if kind == "bio":
        assert connection._sslobj.context is chosen, explain("Python", seam, "keeps the first context")
