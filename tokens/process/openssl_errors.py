"""Clear OpenSSL's error queue of a thread after calls into a module or driver.

SoftHSM and others use the same OpenSSL library as this process uses for TLS, and leave errors in the thread's queue
when they fail. The next TLS operation of the thread would report them as its own: "the current thread's error queue
must be empty before the TLS/SSL I/O operation is attempted" (SSL_get_error(3)).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def clear_openssl_errors() -> None:
    """Empty this thread's queue of OpenSSL errors (ERR_clear_error). Does nothing without a shared OpenSSL."""
    _clear()()


@cache
def _clear() -> Callable[[], object]:
    try:
        import _ssl

        # Found through Python's own extension, so that it is the library to which `ssl` is linked.
        clear = ctypes.PyDLL(_ssl.__file__).ERR_clear_error
    except (ImportError, AttributeError, OSError):  # a Python without ssl, or with an OpenSSL of its own inside
        return lambda: None
    clear.restype, clear.argtypes = None, []
    return clear
