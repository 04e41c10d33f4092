"""python-pkcs11 by itself on a token that is logged in, to compare with."""

from __future__ import annotations

import ctypes
from typing import Any

from pkcs11 import _pkcs11

from tokens.pkcs11.connection import Connection


class _InitialisedAlready(_pkcs11.lib):  # type: ignore[misc]
    """python-pkcs11's library object for a module that `tokens` has initialised, with threads."""

    def initialize(self) -> None:
        # Never freed: it would finalise the module.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))


def open_bare_session(connection: Connection) -> Any:
    """Open a session of python-pkcs11 on the token of a connection, which has logged in."""
    connection.connect()
    library = _InitialisedAlready(str(connection.module.path))
    (token,) = library.get_tokens(token_label=connection.token.label)
    return token.open()
