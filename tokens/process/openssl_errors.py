"""The queue in which OpenSSL keeps the errors of a thread, emptied after calls into a module or driver.

SoftHSM and others compute with the very OpenSSL library that this process uses for TLS, and leave errors in the queue
of the thread when they fail inside. The next TLS operation of that thread then takes them for its own: "the current
thread's error queue must be empty before the TLS/SSL I/O operation is attempted" (SSL_get_error(3)).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def clear_openssl_errors() -> None:
    """Empty this thread's queue of OpenSSL errors (ERR_clear_error). Does nothing where there is no shared OpenSSL."""
    _clear()()


@cache
def _clear() -> Callable[[], object]:
    try:
        import _ssl

        # Looked up through Python's own extension: it leads to the library that `ssl` is linked to, and to no other.
        clear = ctypes.PyDLL(_ssl.__file__).ERR_clear_error
    except (ImportError, AttributeError, OSError):  # a Python without ssl, or with an OpenSSL of its own inside
        return lambda: None
    clear.restype, clear.argtypes = None, []
    return clear
