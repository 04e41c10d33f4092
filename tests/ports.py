"""Ports of loopback for servers that cannot choose one themselves.

A port that the system chose and gave back may go to anybody before the server binds it. These lie below the range from
which the system chooses, each is given once, and processes that run at the same time take from different blocks.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading

_FIRST, _BLOCK, _BLOCKS = 20_000, 200, 60

_numbers = itertools.count()
_lock = threading.Lock()


def free_port() -> int:
    """A port that nobody uses now."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody uses now."""
    with _lock:
        start = _FIRST + os.getpid() % _BLOCKS * _BLOCK
        run: list[int] = []
        for _ in range(2 * _BLOCK):
            port = start + next(_numbers) % _BLOCK
            run = [*run, port] if run and port == run[-1] + 1 else [port]
            if not _is_free(port):
                run = []
            elif len(run) == count:
                return run[0]
    raise RuntimeError(f"No {count} neighbouring ports of {start} to {start + _BLOCK} are free.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that are over, but remembered, do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
