"""Failover of a key on two tokens: handshakes while one token is lost or hangs, and after a connection is back.

The first token is SoftHSM behind `p11-kit server`, whose process is killed, or stopped (SIGSTOP) so that it hangs; the
second one is SoftHSM in this process. Handshakes are full and mutual, in memory, both ends in this process, four at a
time. The cost of a failover is the longest handshake, beside the longest one while nothing fails.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row
from hsm_dicom.identity import Identity
from tests.hsm_dicom.failover import Outcome, Site, failover_site
from tokens.deadlines import DEFAULT_DEADLINES
from tokens.events import KeyUse, OperationOutcome, subscribe

HANDSHAKES = 1000
RETURNS = 20


def run() -> Iterator[Row]:
    """Handshakes without a fault, with a lost member, with one that hangs, and after the connection is back."""
    logging.getLogger("tokens").setLevel(logging.CRITICAL)  # each lost signature would be a line
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HSM_DICOM_STATE"] = str(folder / "state")
        with failover_site(folder) as site:
            yield from _handshakes(site)
            yield from _returns(site)


def _handshakes(site: Site) -> Iterator[Row]:
    with site.open() as identity:
        calm = site.handshakes(identity, HANDSHAKES)
        yield Row("handshakes, nothing fails: typical; longest", _times(calm), "")

        lost, longest_use = _with_fault(site, identity, site.server.kill)
        yield _failed(f"{HANDSHAKES} handshakes, connection lost in the middle: failed", lost)
        yield Row(
            "longest failed use of the lost token, against 50 ms",
            f"{longest_use * 1000:.1f} ms",
            "50 ms",
            longest_use / 0.05,
            "<= 1",
        )
        yield Row("handshakes then: typical; longest", _times(lost), _times(calm))

        site.server.start()
        _wait_until_restored(identity)
        hung, longest_use = _with_fault(site, identity, lambda: site.server.signal(signal.SIGSTOP))
        site.server.signal(signal.SIGCONT)
        bound = DEFAULT_DEADLINES.sign + 0.1
        yield _failed(f"{HANDSHAKES} handshakes, token hangs in the middle: failed", hung)
        yield Row(
            "longest failed use of the token that hangs, against the deadline + 100 ms",
            f"{longest_use:.3f} s",
            f"{bound:.1f} s",
            longest_use / bound,
            "<= 1",
        )
        yield Row("handshakes then: typical; longest", _times(hung), _times(calm))
        _wait_until_restored(identity)


def _failed(what: str, outcome: Outcome) -> Row:
    return Row(what, str(len(outcome.failures)), "0", float(len(outcome.failures)), "<= 0")


def _with_fault(site: Site, identity: Identity, fault: Callable[[], None]) -> tuple[Outcome, float]:
    """Return the handshakes with a fault after a third of them, and the longest use of a key that failed."""
    uses: list[float] = []

    def note(event: KeyUse) -> None:
        if event.outcome is not OperationOutcome.SUCCEEDED:
            uses.append(event.duration)

    with subscribe(note, KeyUse):
        outcome = site.handshakes(identity, HANDSHAKES, between=fault)
    return outcome, max(uses, default=0.0)


def _returns(site: Site) -> Iterator[Row]:
    """The connection is lost and comes back: whether the next handshake works, on one token alone and on two."""
    for name, what in (("far", "one token"), ("node", "two tokens")):
        with site.open(name) as identity:
            worked, seconds = 0, []
            for _ in range(RETURNS):
                site.server.kill()
                site.server.start()
                outcome = site.handshakes(identity, 1, threads=1)
                worked += not outcome.failures
                seconds += outcome.seconds
            yield Row(
                f"connection lost and back, {what}: the next handshake works",
                f"{worked} of {RETURNS}",
                f"{RETURNS} of {RETURNS}",
                worked / RETURNS,
                ">= 1",
            )
            yield Row(f"that handshake, {what}: longest", f"{max(seconds) * 1000:.0f} ms", "")


def _wait_until_restored(identity: Identity) -> None:
    deadline = time.monotonic() + 30
    while not all(member.state == "closed" for member in identity.key.device.members):
        if time.monotonic() > deadline:
            raise TimeoutError("The token was not used again.")
        time.sleep(0.05)


def _times(outcome: Outcome) -> str:
    return f"{outcome.typical * 1000:.0f} ms; {outcome.longest * 1000:.0f} ms"
