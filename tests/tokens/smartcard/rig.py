"""The card in the rig: opened with little patience, asked one question, used by a neighbour at the same time."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cards.daemon import ROOT
from tests.cards.fixtures import AUTHENTICATION_CARD
from tokens.card_uri import CardUri
from tokens.manager import default_manager
from tokens.secrets import Secrets
from tokens.smartcard.opening import open_card, open_card_secrets
from tokens.smartcard.profile_table import read_profile

READER = "Rig A 00 00"

QUESTION, ANSWER = bytes.fromhex("0123456789abcdef"), "85e813540f0ab405"

PROFILE = dataclasses.replace(read_profile("test", AUTHENTICATION_CARD), timeout=0.6)


@contextmanager
def opened(pin: str, reader: str = READER, sharing: str | None = None, wait: float = 1.0) -> Iterator[Secrets]:
    """The secrets of the card in a reader. The card has 0.6 seconds for a command."""
    uri = CardUri(reader=reader, profile="test", sharing=sharing)
    with Secrets(
        open_card_secrets(open_card(default_manager().cards, uri, pin=pin, profiles={"test": PROFILE}, wait=wait))
    ) as secrets:
        yield secrets


def answer(secrets: Secrets) -> str:
    with secrets.authentication(1, wait=1.0) as a:
        return a.internal_authenticate(QUESTION).hex()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside may take this long, and no longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@contextmanager
def neighbour(code: str) -> Iterator[subprocess.Popen[str]]:
    """Another program that uses the card: runs `code` with `channel(exclusive)`, says "ready", waits for its input."""
    prelude = f"""
    import sys
    from tokens.smartcard.readers.channel import Channel
    from tokens.smartcard.readers.pcsc import Contexts
    def channel(exclusive): return Channel(Contexts(), {READER!r}, exclusive=exclusive)
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code) + "\nprint('ready', flush=True)\nsys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
