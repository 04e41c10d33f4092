"""Fixtures for tests with cards: import them into a `conftest.py`."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cards.daemon import Daemon, RunningCard, why_not
from tests.softhsm import set_pin

READERS = ("Rig A", "Rig B", "Rig C", "Pad")
PIN_PADS = ("Pad",)
PIN = "123456"

DES_KEYS = {"81": "133457799bbcdff1", "82": "7ca110454a1a6e57", "91": "0123456789abcdef", "92": "fedcba9876543210"}
"""Key references and keys of the authentication card, the same keys as on the other devices of the secrets suite."""

_PIN_01 = {"reference": "01", "minimum": 6, "reports_retries": True}

AUTHENTICATION_CARD = {
    "family": "iso7816",
    "aid": "f048534d0001",
    "serial_file": "02",
    "keys": [{"name": "sign", "reference": "21", "certificate": "c001", "pin": _PIN_01}],
    "secrets": {
        "authentication": {index: f"{0x80 | index:02x}" for index in range(1, 9)},
        "encryption": {index: f"{0x90 | index:02x}" for index in range(1, 9)},
        "pin": _PIN_01,
    },
}
"""The profile of our own authentication card, as a hospital would write it into its configuration."""

PutIn = Callable[..., RunningCard]

_serials = itertools.count(1)


@functools.cache
def shared_daemon() -> Daemon:
    """Start one pcscd for the whole process: pcsc-lite's client reads the socket's path once, at its first call."""
    folder = Path(tempfile.mkdtemp(prefix="pcscd-"))
    daemon = Daemon(folder, READERS, PIN_PADS)
    os.environ["PCSCLITE_CSOCK_NAME"] = str(daemon.socket_path)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(daemon.stop)
    return daemon


@pytest.fixture(scope="session")
def pcscd() -> Daemon:
    """A private pcscd. Where it cannot run, tests are skipped; under continuous integration that is a failure."""
    reason = why_not()
    if reason is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"No virtual card reader: {reason}")
    return shared_daemon()


@pytest.fixture(scope="session")
def pin() -> str:
    """The source of the PIN of every card of our own."""
    return set_pin(PIN)


@pytest.fixture
def put_in(pcscd: Daemon) -> Iterator[PutIn]:
    """Puts a card of our own into a reader for one test: `put_in("Rig A 00 00", "authentication", …)`."""
    there: list[RunningCard] = []

    def start(reader: str = "Rig A 00 00", card: str = "authentication", **description: Any) -> RunningCard:
        running = _program_for(pcscd, reader, describe_card(card, **description))
        there.append(running)
        insert_card(running)
        return running

    yield start
    for running in there:
        if running.usable:
            running.do("pull")
        wait_until_gone(running.reader)


_programs: dict[tuple[int, str], RunningCard] = {}


def _program_for(pcscd: Daemon, reader: str, description: dict[str, Any]) -> RunningCard:
    """A card program takes its time to start: one for each reader becomes one card after the other."""
    place = (pcscd.process.pid, reader)
    running = _programs.get(place)
    if running is None or not running.usable:
        running = _programs[place] = pcscd.card(reader, **description)
    else:
        running.become(**description)
    return running


def describe_card(card: str, **description: Any) -> dict[str, Any]:
    """Return a card's description with a new serial number and the suite's keys."""
    number = next(_serials)
    if card == "piv":
        return {"card": card, "serial": f"{number:032x}", **description}
    return {"card": card, "serial": f"{number:016x}", "keys": DES_KEYS, **description}


def insert_card(card: RunningCard) -> None:
    """Insert the card and wait until pcscd reports it.

    pcscd 1.9.9 overlooks a card that comes within 0.4 seconds after one which it failed to reset. A person would take
    it out and put it in again; so does this.
    """
    for _ in range(3):
        card.do("insert")
        if _seen(card.reader, there=True, seconds=1.5):
            return
        card.do("pull")
        time.sleep(0.5)
    raise AssertionError(f"The card in {card.reader} is not seen.")


def take_card_out(card: RunningCard) -> None:
    """Stop the card and wait until pcscd reports that it is gone."""
    card.stop()
    wait_until_gone(card.reader)


def wait_until_there(reader: str) -> None:
    """pcscd looks every 0.4 seconds."""
    assert _seen(reader, there=True, seconds=5)


def wait_until_gone(reader: str) -> None:
    """pcscd looks every 0.4 seconds."""
    assert _seen(reader, there=False, seconds=5)


def _seen(reader: str, *, there: bool, seconds: float) -> bool:
    from tokens.manager import default_manager
    from tokens.smartcard.search import list_slots

    deadline = time.monotonic() + seconds
    while any(
        slot.reader == reader and (slot.atr is not None) != there
        for slot in list_slots(default_manager().cards.contexts)
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
