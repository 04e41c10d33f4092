"""Connections to the smart card service, each told from the others of this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.cards.daemon import Daemon
from tokens.manager import default_manager


def test_connections_come_and_go_in_many_threads(pcscd: Daemon) -> None:
    """Also where one gets the number of a descriptor that another one has just left."""

    def come_and_go(_: int) -> None:
        for _ in range(400):
            default_manager().cards.contexts.establish().release()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(come_and_go, range(8)))
