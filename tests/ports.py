"""Loopback ports for servers that cannot choose one themselves.

The system may give a port that it chose and got back to another program before the server binds it. The ports here are
below the range from which the system chooses, and each process takes them from a block of its own, in turn.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
from pathlib import Path

_FIRST, _BLOCK, _BLOCKS = 20_000, 200, 60

_numbers = itertools.count()
_lock = threading.Lock()


def free_port() -> int:
    """Return a port that is free now."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports that are free now. Raises `RuntimeError` if there are none."""
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


def is_listening(port: int) -> bool:
    """Return whether a server listens on an IPv4 port, without a connection that it might take for a client's."""
    listening = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == listening and int(local.partition(":")[2], 16) == port:
            return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Like a server, ignore connections that have ended and linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
