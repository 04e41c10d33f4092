"""Settings of OpenSSL that Python's `ssl` does not offer, and the callback that validates a peer's certificate.

`_sslcontext` finds the `SSL_CTX` behind an `ssl.SSLContext`. Through that pointer this module calls documented
functions of OpenSSL 3 that Python has no method for: TLS 1.3 suites, groups, signature algorithms, the size of
Diffie-Hellman groups, the session cache, and the certificate verification callback.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import ssl
import threading
import weakref
from collections.abc import Callable, Sequence
from ctypes import c_int, c_long, c_ubyte, c_ulong, c_void_p
from typing import Any

from hsm_dicom.tls._sslcontext import connection_pointer, context_pointer, open_libraries
from hsm_dicom.tls.errors import ContextError
from hsm_dicom.trust.clock import current_time

# ssl.h
_CTRL_SET_SESS_CACHE_MODE = 44
_CTRL_SET_GROUPS_LIST = 92
_CTRL_SET_SIGALGS_LIST = 98
_CTRL_SET_CLIENT_SIGALGS_LIST = 102
_CTRL_SET_DH_AUTO = 118
_CTRL_GET_NEGOTIATED_GROUP = 134
_SESS_CACHE_OFF = 0

PeerValidator = Callable[[Sequence[bytes], int], int]
"""(peer's certificates in DER, its own first; OpenSSL's X509_V_ code) -> the final X509_V_ code; 0 is OK."""

log = logging.getLogger("hsm_dicom.tls")


def set_tls13_suites(context: ssl.SSLContext, names: Sequence[str]) -> None:
    """Set the TLS 1.3 suites (SSL_CTX_set_ciphersuites); Python's `set_ciphers` sets those up to TLS 1.2 only."""
    if not _libraries().ssl.SSL_CTX_set_ciphersuites(context_pointer(context), ":".join(names).encode()):
        raise _make_refusal("the TLS 1.3 cipher suites", names)


def set_groups(context: ssl.SSLContext, names: Sequence[str]) -> None:
    """Set the groups of (EC)DHE, most preferred first (SSL_CTX_set1_groups_list)."""
    _control(context, _CTRL_SET_GROUPS_LIST, names, "the groups")


def prefer_groups(context: ssl.SSLContext, additional: Sequence[str], names: Sequence[str]) -> None:
    """Set groups as `set_groups` does, preceded by additional ones if this OpenSSL has them.

    A client then sends a key share for the first of each (`*`, OpenSSL 3.5), so that a server without the additional
    ones does not need another round trip.
    """
    with_shares = (f"*{additional[0]}", *additional[1:], f"*{names[0]}", *names[1:]) if additional else ()
    for candidate in (with_shares, (*additional, *names)):
        if candidate and _set_control(context, _CTRL_SET_GROUPS_LIST, candidate):
            return
    set_groups(context, names)


@functools.cache
def has_group(name: str) -> bool:
    """Return whether this OpenSSL has a group."""
    return _set_control(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), _CTRL_SET_GROUPS_LIST, [name])


def get_group(connection: ssl.SSLSocket | ssl.SSLObject) -> str | None:
    """Return the group of a connection's key exchange (SSL_get_negotiated_group), as OpenSSL names it.

    None if there is none, or if this Python does not show where OpenSSL's connection is.
    """
    pointer = connection_pointer(connection)
    if pointer is None:
        return None
    library = _libraries().ssl
    number = library.SSL_ctrl(pointer, _CTRL_GET_NEGOTIATED_GROUP, 0, None)
    name = library.SSL_group_to_name(pointer, number) if number else None
    return name.decode("ascii", "replace") if name else None


def set_signature_algorithms(context: ssl.SSLContext, peer: Sequence[str], own: Sequence[str]) -> None:
    """Set the algorithms of peers' signatures and of ours (SSL_CTX_set1_sigalgs_list and its client variant).

    OpenSSL keeps one list for announcements and for a server's own signatures, and another one for client
    authentication. The side determines which list is for the peer and which is for us.
    """
    server = context.protocol == ssl.PROTOCOL_TLS_SERVER
    _control(context, _CTRL_SET_SIGALGS_LIST, own if server else peer, "the signature algorithms")
    _control(context, _CTRL_SET_CLIENT_SIGALGS_LIST, peer if server else own, "the signature algorithms")


def size_dh_by_key(context: ssl.SSLContext) -> None:
    """Use groups of RFC 3526 as strong as the certificate's key, 2048 bits or more (SSL_CTX_set_dh_auto)."""
    _libraries().ssl.SSL_CTX_ctrl(context_pointer(context), _CTRL_SET_DH_AUTO, 1, None)


def keep_no_sessions(context: ssl.SSLContext) -> None:
    """Switch off the server's session cache, so that every handshake proves both keys."""
    _libraries().ssl.SSL_CTX_ctrl(context_pointer(context), _CTRL_SET_SESS_CACHE_MODE, _SESS_CACHE_OFF, None)


def set_peer_validator(context: ssl.SSLContext, validator: PeerValidator) -> None:
    """Call `validator` for each certificate that a peer sends, after OpenSSL's own X509_verify_cert.

    It is called in the thread of the handshake. The code that it returns becomes `verify_code` of the exception and the
    alert that the peer receives; any exception that it raises refuses the peer.
    """
    with _lock:
        number = next(_numbers)
        _validators[number] = validator
    _libraries().ssl.SSL_CTX_set_cert_verify_callback(context_pointer(context), _verify, c_void_p(number))
    weakref.finalize(context, _validators.pop, number, None)


def list_enabled_suites(context: ssl.SSLContext) -> frozenset[int]:
    """Return the numbers of the suites that a context offers."""
    return frozenset(int(cipher["id"]) & 0xFFFF for cipher in context.get_ciphers())


class _Libraries:
    """Separate handles on the OpenSSL that Python uses: prototypes set here affect no other user."""

    def __init__(self) -> None:
        self.ssl, self.crypto = open_libraries()
        prototypes: tuple[tuple[Any, str, Any, list[Any]], ...] = (
            (self.ssl, "SSL_CTX_ctrl", c_long, [c_void_p, c_int, c_long, c_void_p]),
            (self.ssl, "SSL_ctrl", c_long, [c_void_p, c_int, c_long, c_void_p]),
            (self.ssl, "SSL_group_to_name", ctypes.c_char_p, [c_void_p, c_int]),
            (self.ssl, "SSL_CTX_set_ciphersuites", c_int, [c_void_p, ctypes.c_char_p]),
            (self.ssl, "SSL_CTX_set_cert_verify_callback", None, [c_void_p, _VERIFY, c_void_p]),
            (self.crypto, "ERR_clear_error", None, []),
            (self.crypto, "X509_verify_cert", c_int, [c_void_p]),
            (self.crypto, "X509_STORE_CTX_set_time", None, [c_void_p, c_ulong, c_long]),
            (self.crypto, "X509_STORE_CTX_get_error", c_int, [c_void_p]),
            (self.crypto, "X509_STORE_CTX_set_error", None, [c_void_p, c_int]),
            (self.crypto, "X509_STORE_CTX_get0_cert", c_void_p, [c_void_p]),
            (self.crypto, "X509_STORE_CTX_get0_untrusted", c_void_p, [c_void_p]),
            (self.crypto, "OPENSSL_sk_num", c_int, [c_void_p]),
            (self.crypto, "OPENSSL_sk_value", c_void_p, [c_void_p, c_int]),
            (self.crypto, "i2d_X509", c_int, [c_void_p, ctypes.POINTER(ctypes.POINTER(c_ubyte))]),
        )
        for library, name, result, arguments in prototypes:
            function = getattr(library, name, None)
            if function is None:
                raise ContextError(f"{ssl.OPENSSL_VERSION} has no function {name}; use OpenSSL 3.0 or newer.")
            function.restype, function.argtypes = result, arguments

    def der(self, certificate: int) -> bytes:
        """Return the DER of an X509 object."""
        length = self.crypto.i2d_X509(certificate, None)
        if length <= 0:
            return b""
        buffer = (c_ubyte * length)()
        place = ctypes.cast(buffer, ctypes.POINTER(c_ubyte))
        self.crypto.i2d_X509(certificate, ctypes.byref(place))
        return bytes(buffer)

    def read_sent_certificates(self, store: int) -> list[bytes]:
        """Return the certificates that the peer sent, its own first, each once."""
        own = self.crypto.X509_STORE_CTX_get0_cert(store)
        sent = [self.der(own)]
        stack = self.crypto.X509_STORE_CTX_get0_untrusted(store)
        for index in range(self.crypto.OPENSSL_sk_num(stack) if stack else 0):
            certificate = self.crypto.OPENSSL_sk_value(stack, index)
            if certificate == own:
                continue  # OpenSSL puts it first in the list of what the peer sent
            der = self.der(certificate)
            if der not in sent:
                sent.append(der)
        return sent


_VERIFY = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)  # int (*)(X509_STORE_CTX *, void *)
_X509_V_ERR_APPLICATION_VERIFICATION = 50
# Process-wide, since OpenSSL passes only a number to the callback; each entry is removed with its context.
_lock = threading.Lock()
_validators: dict[int, PeerValidator] = {}
_numbers = itertools.count(1)
_loaded: _Libraries | None = None


def _libraries() -> _Libraries:
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _Libraries()
        return _loaded


def _validate_peer(store: int, number: int | None) -> int:
    libraries = _libraries()
    code = _X509_V_ERR_APPLICATION_VERIFICATION
    try:
        # Both judge by one time: behind the mark, the system clock is wrong for certificates issued since, too.
        libraries.crypto.X509_STORE_CTX_set_time(store, 0, int(current_time().timestamp()))
        passed = libraries.crypto.X509_verify_cert(store) == 1
        found = libraries.crypto.X509_STORE_CTX_get_error(store)
        validator = _validators.get(number or 0)
        if validator is not None:
            code = validator(libraries.read_sent_certificates(store), 0 if passed else found or code)
    except Exception:
        log.exception("Validation of a peer's certificate failed; the peer is refused.")
    libraries.crypto.X509_STORE_CTX_set_error(store, code)
    return int(code == 0)


# OpenSSL may call it until the process ends, so it is never collected.
_verify = _VERIFY(_validate_peer)


def _control(context: ssl.SSLContext, command: int, names: Sequence[str], what: str) -> None:
    if not _set_control(context, command, names):
        raise _make_refusal(what, names)


def _set_control(context: ssl.SSLContext, command: int, names: Sequence[str]) -> bool:
    """Set a list by a control command, and return whether OpenSSL accepted it; otherwise nothing has changed."""
    libraries = _libraries()
    if libraries.ssl.SSL_CTX_ctrl(context_pointer(context), command, 0, ":".join(names).encode()):
        return True
    libraries.crypto.ERR_clear_error()  # or the next call of this thread would be said to have failed
    return False


def _make_refusal(what: str, names: Sequence[str]) -> ContextError:
    return ContextError(f"{ssl.OPENSSL_VERSION} refuses {what} {', '.join(names)}; use another profile.")
