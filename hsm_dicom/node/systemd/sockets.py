"""Listening sockets that systemd opened for this process, by their names (sd_listen_fds_with_names(3)).

    sockets = PassedSockets.take_from(os.environ)
    bound = sockets.take("main")         # FileDescriptorName=main in the socket unit

So a service without root listens on port 104, and connections wait while it is restarted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping

from hsm_dicom.network.errors import ListenError

_FIRST = 3
"""The first descriptor that is passed, after standard input, output and error."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class PassedSockets:
    """The sockets that were passed, each to be taken once by its name."""

    def __init__(self, sockets: dict[str, socket.socket] | None = None) -> None:
        self._sockets = sockets or {}

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str] = os.environ) -> PassedSockets:
        """Return the sockets that the environment describes, and remove its variables, so that no child sees them.

        Raises `ListenError` for descriptors that are no sockets, and for two of one name.
        """
        process, count, names = (environment.pop(variable, "") for variable in _VARIABLES)
        if not process or process != str(os.getpid()):  # they are meant for the process that started this one
            return cls()
        if not count.isdecimal():
            raise ListenError(f"LISTEN_FDS is '{count}', which is no number.", remedy="Unset it, or start by systemd.")
        # Without names, systemd calls each socket "unknown".
        named = names.split(":") if names else ["unknown"] * int(count)
        if len(named) != int(count):
            raise ListenError(f"{count} sockets were passed with {len(named)} names.", remedy="Correct LISTEN_FDNAMES.")
        sockets: dict[str, socket.socket] = {}
        for descriptor, name in enumerate(named, _FIRST):
            if name in sockets:
                raise ListenError(
                    f"systemd passed two sockets with the name '{name}'.",
                    remedy="Write a socket unit for each, with a FileDescriptorName= of its own.",
                )
            sockets[name] = _open(descriptor, name)
        return cls(sockets)

    @property
    def names(self) -> list[str]:
        """The names of the sockets that nobody has taken yet."""
        return list(self._sockets)

    def take(self, name: str) -> socket.socket | None:
        """Return the socket of a name, which belongs to the caller from now on; None if there is none."""
        return self._sockets.pop(name, None)

    def check_all_taken(self, known: Iterable[str]) -> None:
        """Raise `ListenError` if a socket was passed that nothing listens on. `known` are the names that can be used.

        Its connections would wait for ever.
        """
        if self._sockets:
            left = ", ".join(f"'{name}'" for name in self._sockets)
            raise ListenError(
                f"systemd passed a socket that nothing here listens on: {left}.",
                remedy=f"Write FileDescriptorName= in its socket unit with one of: {', '.join(known) or 'none'}.",
            )


def _open(descriptor: int, name: str) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(
            f"Descriptor {descriptor} ('{name}') was passed as a socket, and is none ({error.strerror}).",
            remedy="Write ListenStream=ADDRESS:PORT in its socket unit.",
        ) from error
    passed.set_inheritable(False)
    return passed
