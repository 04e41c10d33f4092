"""The tokens that one device manager has open: connections, each shared by every key of its token, and modules."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.pins.credentials import Credentials
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.isolation.module import IsolatedModule, close_modules
from tokens.pkcs11.module import Module, load_module, release_modules
from tokens.pkcs11.search import TokenInfo
from tokens.process.forking import LockAcrossForks
from tokens.uri import Pkcs11Uri

_Place = tuple[Path, str, str, bool]
_Wanted = tuple[Path, str | None, Pkcs11Uri]
"""A module, its init string, and the token that is wanted of it."""


class SharedConnection:
    """One user's share in a connection; closing the last one ends the login."""

    def __init__(self, owner: TokenConnections, connection: Connection) -> None:
        self._owner = owner
        self.connection = connection
        self._open = True

    def close(self) -> None:
        """Release the share; doing so twice is fine."""
        if self._open:
            self._open = False
            self._owner.release(self.connection)

    def __enter__(self) -> Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.close()


class TokenConnections:
    """Owner of connections to tokens, and one of the owners of their modules."""

    def __init__(self) -> None:
        self._connections: dict[_Place, tuple[Connection, int]] = {}
        self._isolated: dict[_Wanted, IsolatedModule] = {}
        self._sharing = LockAcrossForks()

    def module(
        self, path: Path, init_string: str | None = None, deadlines: CallDeadlines = DEFAULT_DEADLINES
    ) -> Module:
        """Return the module at `path`, initialised until `close` at the earliest; see `load_module`."""
        return load_module(path, init_string, self, deadlines)

    def isolated_module(
        self,
        path: Path,
        wanted: Pkcs11Uri,
        init_string: str | None = None,
        deadlines: CallDeadlines | None = None,
    ) -> Module:
        """Return the module at `path`, in a process of its own for the token that a URI wants.

        The process ends with the last share in the token's connection, or with `close`. Raises as `load_module`.
        """
        token = replace(wanted.token_part(), module_path=None, pin_source=None, others=())
        key = path.absolute(), init_string, token
        with self._sharing:
            module = self._isolated.get(key)
            if module is None:
                module = self._isolated[key] = IsolatedModule(path, init_string)
        if deadlines is not None:
            module.use_deadlines(None, deadlines)
        module.ready()
        return module

    def release_module(self, module: Module) -> None:
        """End the process of an isolated module, unless it serves a connection: the token was not found in it."""
        with self._sharing:
            if any(connection.module is module for connection, _ in self._connections.values()):
                return
            self._replace(module, None)
        close_modules([module])

    def acquire(
        self,
        module: Module,
        token: TokenInfo,
        credentials: Credentials | None,
        sessions: int,
        deadlines: CallDeadlines | None = None,
    ) -> SharedConnection:
        """Return a share in the connection to a token.

        Newer credentials replace those of the connection if they differ or were refused. Newer deadlines replace its
        deadlines.
        """
        place = _place(module, token)
        with self._sharing:
            connection, users = self._connections.get(place, (None, 0))
            if connection is None:
                connection = Connection(module, token, credentials, sessions, deadlines or DEFAULT_DEADLINES)
            elif deadlines is not None:
                connection.use_deadlines(deadlines)
            self._connections[place] = (connection, users + 1)
            is_surplus = self._replace(module, connection.module)
        if is_surplus:
            close_modules([module])
        share = SharedConnection(self, connection)
        if credentials is not None and connection.credentials is not credentials:
            try:
                connection.use_credentials(credentials)
            except BaseException:
                share.close()
                raise
        return share

    def release(self, connection: Connection) -> None:
        """End one user's share in a connection, which is closed with the last."""
        place = _place(connection.module, connection.token)
        with self._sharing:
            known, users = self._connections.get(place, (None, 0))
            if known is not connection:
                return  # closed with all the others
            if users > 1:
                self._connections[place] = (connection, users - 1)
                return
            del self._connections[place]
            self._replace(connection.module, None)
        connection.close()
        close_modules([connection.module])

    def close(self) -> None:
        """Close every connection, and finalise the modules that have no other owner."""
        with self._sharing:
            connections = [connection for connection, _ in self._connections.values()]
            modules = {*self._isolated.values(), *(connection.module for connection in connections)}
            self._connections.clear()
            self._isolated.clear()
        with contextlib.ExitStack() as stack:
            stack.callback(release_modules, self)
            stack.callback(close_modules, modules)
            for connection in connections:
                stack.callback(connection.close)

    def _replace(self, module: Module, by: Module | None) -> bool:
        """Use another process for every URI that led to this one, or none; return whether it is another one.

        Two URIs may want the same token, which is known only when it was found.
        """
        if module is by:
            return False
        for key in [key for key, known in self._isolated.items() if known is module]:
            if isinstance(by, IsolatedModule):
                self._isolated[key] = by
            else:
                del self._isolated[key]
        return True


def _place(module: Module, token: TokenInfo) -> _Place:
    return module.path, token.serial, token.label, module.is_isolated
