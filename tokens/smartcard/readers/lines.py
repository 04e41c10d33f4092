"""The lines that are open in this process: one for each reader, shared by everything that uses the card in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tokens.errors import TokenBusyError
from tokens.process import forking
from tokens.smartcard.readers.line import CardLine


@dataclass
class _Shared:
    line: CardLine
    users: int = 0


_open: dict[str, _Shared] = {}
_sharing = threading.Lock()


def share(reader: str, *, exclusive: bool) -> CardLine:
    """The line to this reader, opened with its first user. `let_go` must follow.

    Raises `TokenBusyError` where it is open in the other way of sharing.
    """
    with _sharing:
        shared = _open.get(reader) or _Shared(CardLine(reader, exclusive=exclusive))
        if shared.line.exclusive != exclusive:
            way = "exclusive" if shared.line.exclusive else "transactions"
            raise TokenBusyError(
                f"The card in {reader} is open in this program with sharing={way}; open it the same way."
            )
        shared.users += 1
        _open[reader] = shared
        return shared.line


def share_for_a_look(reader: str) -> CardLine:
    """The line to this reader as it is open, or a new one in transactions. `let_go` must follow."""
    with _sharing:
        shared = _open.setdefault(reader, _Shared(CardLine(reader, exclusive=False)))
        shared.users += 1
        return shared.line


def held_here(reader: str) -> bool:
    """Whether a line to this reader is open in this process."""
    with _sharing:
        return reader in _open


def let_go(line: CardLine) -> None:
    """Give a share back; the line is closed with the last."""
    with _sharing:
        shared = _open[line.reader]
        shared.users -= 1
        if shared.users:
            return
        del _open[line.reader]
    line.close()


class _AcrossForks:
    def before_fork(self) -> None:
        _sharing.acquire()

    def after_fork_in_parent(self) -> None:
        _sharing.release()

    def after_fork_in_child(self) -> None:
        _sharing.release()


_across_forks = _AcrossForks()
forking.register(_across_forks)
