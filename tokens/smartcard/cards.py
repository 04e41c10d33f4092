"""The open connections and applications of one device manager, each shared by all its users.

There is one connection for each reader, and one application for each card and AID, so that a person types a PIN once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from tokens.deadlines import CallDeadlines
from tokens.errors import TokenBusyError
from tokens.pins.credentials import Credentials
from tokens.process.forking import LockAcrossForks
from tokens.smartcard.card import CardApplication
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.readers.connection import CardConnection
from tokens.smartcard.readers.pcsc import Contexts


@dataclass
class _SharedConnection:
    connection: CardConnection
    users: int = 0


@dataclass
class _SharedApplication:
    application: CardApplication
    users: int = 0


_Place = tuple[str, str, bytes | None]


@dataclass
class Cards:
    """Owner of connections to cards, with their PC/SC contexts and the thread that watches their deadlines."""

    contexts: Contexts = field(default_factory=Contexts)
    _connections: dict[str, _SharedConnection] = field(default_factory=dict)
    _applications: dict[_Place, _SharedApplication] = field(default_factory=dict)
    _sharing: LockAcrossForks = field(default_factory=LockAcrossForks)

    def acquire_connection(self, reader: str, *, exclusive: bool) -> CardConnection:
        """Return the connection to the card in a reader. The caller releases it with `release_connection`.

        Raises `TokenBusyError` if it is open with the other mode of sharing.
        """
        with self._sharing:
            shared = self._connections.get(reader)
            if shared is not None and shared.connection.exclusive != exclusive:
                way = "exclusive" if shared.connection.exclusive else "transactions"
                raise TokenBusyError(
                    f"The card in {reader} is open in this program with sharing={way}.",
                    remedy="Open it in the same way.",
                )
            return self._count_connection(reader, exclusive=exclusive)

    def acquire_probe(self, reader: str) -> CardConnection:
        """Return the open connection to the card in a reader, or a new one that uses transactions.

        The caller releases it with `release_connection`.
        """
        with self._sharing:
            return self._count_connection(reader, exclusive=False)

    def has_connection(self, reader: str) -> bool:
        """Return whether these cards have an open connection to the card in this reader."""
        with self._sharing:
            return reader in self._connections

    def release_connection(self, connection: CardConnection) -> None:
        """Release one user's share in a connection. The last release closes it."""
        with self._sharing:
            shared = self._connections.get(connection.reader)
            if shared is None or shared.connection is not connection:
                return  # `close` has closed it already
            shared.users -= 1
            if shared.users:
                return
            del self._connections[connection.reader]
        connection.close()

    def acquire_application(
        self,
        reader: str,
        exclusive: bool,
        profile: CardProfile,
        aid: bytes | None,
        credentials: Credentials | None,
        wait: float,
        deadlines: CallDeadlines | None = None,
    ) -> CardApplication:
        """Return an application on the card in a reader. The caller releases it with `release_application`.

        All users share one set of credentials, which those of a later user replace if they differ or its PIN was
        refused, and the deadlines of the last one. Raises as `acquire_connection` does.
        """
        connection = self.acquire_connection(reader, exclusive=exclusive)
        with self._sharing:
            place = (reader, profile.name, aid)
            shared = self._applications.get(place)
            if shared is None:
                application = CardApplication(connection, profile, aid, credentials, wait=wait, deadlines=deadlines)
                shared = self._applications[place] = _SharedApplication(application)
            elif credentials is not None:
                shared.application.login.use_credentials(credentials)
            if deadlines is not None:
                shared.application.deadlines = deadlines
            shared.users += 1
            return shared.application

    def release_application(self, application: CardApplication) -> None:
        """Release one user's share in an application. The last release closes it."""
        place = (application.connection.reader, application.profile.name, application.aid)
        with self._sharing:
            shared = self._applications.get(place)
            if shared is not None and shared.application is application:
                shared.users -= 1
                if not shared.users:
                    del self._applications[place]
                    application.close()
        self.release_connection(application.connection)

    def close(self) -> None:
        """Close every application and connection, end the PC/SC contexts, and join the threads."""
        with self._sharing:
            applications = [shared.application for shared in self._applications.values()]
            connections = [shared.connection for shared in self._connections.values()]
            self._applications.clear()
            self._connections.clear()
        with contextlib.ExitStack() as stack:
            stack.callback(self.contexts.close)
            for connection in connections:
                stack.callback(connection.close)
            for application in applications:
                stack.callback(application.close)

    def _count_connection(self, reader: str, *, exclusive: bool) -> CardConnection:
        shared = self._connections.get(reader)
        if shared is None:
            connection = CardConnection(self.contexts, reader, exclusive=exclusive)
            shared = self._connections[reader] = _SharedConnection(connection)
        shared.users += 1
        return shared.connection
