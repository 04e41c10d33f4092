"""The applications that are open in this process: one for each card and AID, so that a PIN is asked for once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tokens.pins.credentials import Credentials
from tokens.process import forking
from tokens.smartcard.card import CardApplication
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.readers import lines


@dataclass
class _Shared:
    application: CardApplication
    users: int = 0


_Place = tuple[str, str, bytes | None]
_open: dict[_Place, _Shared] = {}
_sharing = threading.Lock()


def share(
    reader: str, exclusive: bool, profile: CardProfile, aid: bytes | None, credentials: Credentials | None, wait: float
) -> CardApplication:
    """The application, opened with its first user. `let_go` must follow."""
    line = lines.share(reader, exclusive=exclusive)
    with _sharing:
        shared = _open.get((reader, profile.name, aid))
        if shared is None:
            shared = _Shared(CardApplication(line, profile, aid, credentials, wait=wait))
            _open[_place(shared.application)] = shared
        elif shared.application.login.credentials is None:
            shared.application.login.credentials = credentials
        shared.users += 1
        return shared.application


def let_go(application: CardApplication) -> None:
    """Give a share back; the application is closed with the last."""
    with _sharing:
        shared = _open[_place(application)]
        shared.users -= 1
        if not shared.users:
            del _open[_place(application)]
            application.close()
    lines.let_go(application.line)


def _place(application: CardApplication) -> _Place:
    return application.line.reader, application.profile.name, application.aid


class _AcrossForks:
    def before_fork(self) -> None:
        _sharing.acquire()

    def after_fork_in_parent(self) -> None:
        _sharing.release()

    def after_fork_in_child(self) -> None:
        _sharing.release()


_across_forks = _AcrossForks()
forking.register(_across_forks)
