"""The only module that uses internals of the package `sslcontext` and of CPython's `ssl.SSLContext`.

`sslcontext` is an alpha release that is pinned to one version. It has an OpenSSL provider through which any Python
object can sign a handshake, and it finds the OpenSSL that Python uses. The `SSL_CTX` of OpenSSL is the first member of
CPython's `ssl.SSLContext`, and the `SSL` is the second member of the object behind a connection, which no interface
documents. `context_pointer` and `connection_pointer` prove this layout before any call goes through a pointer. Where
the first cannot, the context is refused; where the second cannot, the group of a connection is not reported.
tests/hsm_dicom/tls/test_sslcontext_seam.py checks what is relied on.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from ctypes import c_void_p
from pathlib import Path
from typing import Any

import sslcontext
from sslcontext._openssl import _provider, openssl, ssl_ctx_pointer
from sslcontext._openssl._loader import find_libraries

from hsm_dicom.tls.errors import ContextError

HEADER_BYTES = object.__basicsize__
"""Where the first member of a C structure behind a Python object begins."""

_POINTER_BYTES = ctypes.sizeof(c_void_p)
_FIRST_MEMBERS = 8
"""How many pointers at the start of an `SSL_CTX` may hold its `SSL_METHOD`; the structure is far larger."""

_CONNECTION_BYTES = 4096
"""In how many bytes at the start of an `SSL` its `SSL_CTX` is looked for."""

_METHODS = {ssl.PROTOCOL_TLS_CLIENT: "TLS_client_method", ssl.PROTOCOL_TLS_SERVER: "TLS_server_method"}

_lock = threading.Lock()
_proven: set[int] = set()
"""The protocols for which the layout of `ssl.SSLContext` was proven in this process."""


class _WithoutTraceback(logging.Filter):
    """`sslcontext` logs a traceback whenever a signer fails; hsm-dicom reports what failed, with the remedy."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.exc_info


logging.getLogger("sslcontext").addFilter(_WithoutTraceback())


def open_libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """Return new handles of the libssl and libcrypto that Python uses. Raises `ContextError`.

    Prototypes that are set on these handles affect nobody else's.
    """
    try:
        return find_libraries()
    except sslcontext.UnsupportedOpenSSLError as error:
        raise _unusable(str(error)) from error


def load_identity(context: ssl.SSLContext, certificate: bytes, chain: Sequence[bytes], signer: Any) -> None:
    """Add a certificate (DER), its issuers and a signer to the context, in place of another of the same key type.

    Identities with an RSA and an EC key can be loaded side by side. Raises `ContextError`.
    """
    _prove_layout(context.protocol)
    _allow_in_fips_mode()
    try:
        sslcontext.load_identity(context, sslcontext.Identity(certificate, signer, tuple(chain)))
    except (sslcontext.CredentialError, sslcontext.UnsupportedOpenSSLError, ValueError) as error:
        raise ContextError(f"OpenSSL does not accept the identity: {error}.") from error


def context_pointer(context: ssl.SSLContext) -> int:
    """Return the address of the `SSL_CTX` behind a context. Raises `ContextError` where that is not certain."""
    _prove_layout(context.protocol)
    try:
        return int(ssl_ctx_pointer(openssl(), context))
    except sslcontext.UnsupportedOpenSSLError as error:
        raise _unusable(str(error)) from error


def connection_pointer(connection: ssl.SSLSocket | ssl.SSLObject) -> int | None:
    """Return the address of the `SSL` behind a connection; None where that is not certain, or there is none yet."""
    return _second_member(connection) if _knows_connections() else None


class SelectingContext(ssl.SSLContext):
    """A context whose connections get the certificates of the context that `select` returns for each.

    Everything else is that of this context: its versions, suites and verification, and what a caller sets afterwards.
    """

    select: Callable[[], ssl.SSLContext]

    def _wrap_socket(self, *arguments: Any, **named: Any) -> Any:
        """Begin the connection of a socket, for `ssl.SSLSocket`."""
        return self._choose(super()._wrap_socket(*arguments, **named))  # type: ignore[misc]

    def _wrap_bio(self, *arguments: Any, **named: Any) -> Any:
        """Begin the connection of two buffers, for `ssl.SSLObject`."""
        return self._choose(super()._wrap_bio(*arguments, **named))  # type: ignore[misc]

    def _choose(self, connection: Any) -> Any:
        chosen = self.select()
        if chosen is not self:
            connection.context = chosen  # SSL_set_SSL_CTX: takes the certificates, and keeps the settings
        return connection


@functools.cache
def is_in_fips_mode() -> bool:
    """Return whether the OpenSSL that Python uses takes only implementations that are marked as FIPS (fips=yes)."""
    _, library = open_libraries()
    return bool(_function(library, "EVP_default_properties_is_fips_enabled", ctypes.c_int, c_void_p)(None))


@functools.cache
def _allow_in_fips_mode() -> None:
    """Mark the provider of `sslcontext` as FIPS if OpenSSL is in FIPS mode, where it would not be used otherwise.

    The provider computes nothing: it hands a digest to the token, and whether the token is validated is for its
    certificate to say.
    """
    if is_in_fips_mode():
        _provider._PROPERTIES += b",fips=yes"


def _prove_layout(protocol: int) -> None:
    """Prove once per protocol that the first member of an `ssl.SSLContext` points to an `SSL_CTX`.

    An `SSL_CTX` that OpenSSL makes for us shows which of its first members is its `SSL_METHOD`. The structure that
    Python's member points to must hold the same method there. Until then it is only read, and only where it is mapped.
    """
    with _lock:
        if protocol in _proven:
            return
        name = _METHODS.get(ssl._SSLMethod(protocol))
        if name is None:
            raise ContextError("A context must be made for PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER.")
        library, _ = open_libraries()
        try:
            method = _function(library, name, c_void_p)()
            index = _index_of_method(library, method)
        except AttributeError as error:
            raise _unusable(f"a function is missing: {error}") from error
        # The object must outlive the reads.
        probe = ssl.SSLContext(protocol)
        member = c_void_p.from_address(id(probe) + HEADER_BYTES).value or 0
        if not _is_readable(member, _FIRST_MEMBERS * _POINTER_BYTES) or _members(member)[index] != method:
            raise _unusable("the first member of ssl.SSLContext is not the SSL_CTX")
        del probe
        _proven.add(protocol)


@functools.cache
def _knows_connections() -> bool:
    """Prove that the second member of CPython's connection points to an `SSL`: it holds its `SSL_CTX`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Both objects must outlive the reads.
    probe = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    wanted = context_pointer(context)
    member = _second_member(probe) or 0
    if not _is_readable(member, _CONNECTION_BYTES):
        return False
    if wanted not in list((ctypes.c_size_t * (_CONNECTION_BYTES // _POINTER_BYTES)).from_address(member)):
        return False
    library, _ = open_libraries()
    return bool(_function(library, "SSL_get_SSL_CTX", c_void_p, c_void_p)(member) == wanted)


def _second_member(connection: Any) -> int | None:
    inner = getattr(connection, "_sslobj", None)
    return None if inner is None else c_void_p.from_address(id(inner) + HEADER_BYTES + _POINTER_BYTES).value


def _index_of_method(library: ctypes.CDLL, method: int) -> int:
    """Return the index of the `SSL_METHOD` among the first members of an `SSL_CTX`."""
    release = _function(library, "SSL_CTX_free", None, c_void_p)
    reference = _function(library, "SSL_CTX_new", c_void_p, c_void_p)(method)
    if not reference:
        raise _unusable("it makes no SSL_CTX")
    try:
        members = _members(reference)
    finally:
        release(reference)
    if method not in members:
        raise _unusable("its SSL_CTX has no SSL_METHOD among its first members")
    return members.index(method)


def _members(address: int) -> list[int]:
    return list((ctypes.c_size_t * _FIRST_MEMBERS).from_address(address))


def _is_readable(address: int, size: int) -> bool:
    """Return whether this memory is mapped for reading, as Linux lists it (proc(5), /proc/pid/maps)."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, permissions, *_ = line.split(maxsplit=2)
            start, end = (int(bound, 16) for bound in span.split("-"))
            if start <= address < end:
                return permissions.startswith("r") and address + size <= end
    return False


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, list(arguments)
    return function


def _unusable(why: str) -> ContextError:
    return ContextError(
        f"This Python's OpenSSL cannot be used with keys on a token ({ssl.OPENSSL_VERSION}; {why}); use a Python that "
        "links OpenSSL 3 dynamically, such as your distribution's."
    )
