"""A gateway whose HSM connection is lost and comes back, beside stunnel with libp11's engine: the next handshake.

The token is SoftHSM behind `p11-kit server`, whose process is killed and started again. In each round, an association
is asked for while the connection is lost, and then the next one after it is back.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.hospital import new_hospital
from benchmarks.relays import Relay, Sink, Site, open_association, release, require_programs, run_ours, run_stunnel
from benchmarks.rows import Row
from tests.remote import CLIENT, Server
from tests.softhsm import TestToken

ROUNDS = 10


def run() -> Iterator[Row]:
    """How many of the first handshakes after an outage work."""
    require_programs()
    with new_hospital() as (folder, hospital, uri, pin):
        server = Server(folder, TestToken(uri.token or "", uri.serial or "", "", ""))
        os.environ |= server.client_environment
        server.start()
        try:
            site = Site.make(hospital, replace(uri, module_path=CLIENT))
            client = site.make_context(ssl.Purpose.SERVER_AUTH)
            with (
                Sink(site) as (plain, _),
                run_ours(site, is_secured_in=True, target=plain) as ours,
                run_stunnel(site, is_secured_in=True, target=plain, pin=pin, module=str(CLIENT)) as stunnel,
            ):
                for relay in (ours, stunnel):
                    if not _is_served(relay, client):
                        raise RuntimeError(f"{relay.name} does not work before the first outage.")
                working = _count_recoveries(server, (ours, stunnel), client)
        finally:
            server.kill()
    yield Row(
        f"token connection lost and back, {ROUNDS} times: next handshakes that work",
        str(working["ours"]),
        f"{working['stunnel']} stunnel with its engine",
        working["ours"] / ROUNDS,
        ">= 1",
    )


def _count_recoveries(server: Server, relays: tuple[Relay, ...], client: ssl.SSLContext) -> dict[str, int]:
    working = {relay.name: 0 for relay in relays}
    for _ in range(ROUNDS):
        server.kill()
        for relay in relays:
            if _is_served(relay, client):
                raise RuntimeError(f"{relay.name} works without its token.")
        server.start()
        for relay in relays:
            working[relay.name] += _is_served(relay, client)
    return working


def _is_served(relay: Relay, client: ssl.SSLContext) -> bool:
    """Return whether an association comes about."""
    try:
        release(open_association(relay.port, client))
    except (OSError, EOFError, RuntimeError):
        return False
    return True
