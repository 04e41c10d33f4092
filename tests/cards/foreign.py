"""Starting cards that were not written here, and making keys on them with the commands of their own standards."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cards.daemon import ROOT, Daemon
from tests.cards.fixtures import wait_until_gone, wait_until_there
from tokens.smartcard.readers.channel import Channel
from tokens.smartcard.readers.pcsc import Contexts

USER_PIN, ADMIN_PIN = "123456", "12345678"
"""An OpenPGP card's PINs as it is made."""

OPENPGP_AID = bytes.fromhex("d27600012401")


@functools.cache
def environments() -> Path:
    """The Python environments of these cards, made on first use; tests are skipped where they cannot be."""
    made = subprocess.run([ROOT / "tools" / "card-environments"], capture_output=True, text=True)
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:]
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"No environments for foreign cards: {last}")
    return ROOT / ".venv-cards"


@contextmanager
def foreign_card(pcscd: Daemon, reader: str, name: str, *arguments: str | Path) -> Iterator[None]:
    """A card of `tests.cards.bridges`, in a reader for as long as the block lasts."""
    python = sys.executable if name == "cac" else environments() / name / "bin" / "python"
    command = [python, "-m", f"tests.cards.bridges.{name}", str(pcscd.port(reader)), *arguments]
    process = pcscd.run_card(command, stderr=subprocess.DEVNULL)
    try:
        wait_until_there(reader)
        yield
    finally:
        process.kill()
        process.wait(10)
        wait_until_gone(reader)


def make_openpgp_key(reader: str, reference: int, attributes: bytes) -> None:
    """Have an OpenPGP card generate a key: VERIFY PW3, algorithm attributes (4.4.3.9), GENERATE (7.2.14)."""
    attribute_tag = {0xB6: 0xC1, 0xB8: 0xC2, 0xA4: 0xC3}[reference]
    channel = Channel(Contexts(), reader, exclusive=True)
    try:
        for command in (
            b"\x00\xa4\x04\x00\x06" + OPENPGP_AID,
            b"\x00\x20\x00\x83\x08" + ADMIN_PIN.encode(),
            b"\x00\xda\x00" + bytes([attribute_tag, len(attributes)]) + attributes,
            b"\x00\x47\x80\x00\x00\x00\x02" + bytes([reference, 0]) + b"\x00\x00",
        ):
            _carry_out(channel, command)
    finally:
        channel.close(reset=True)


def _carry_out(channel: Channel, command: bytes) -> None:
    """smartcard-app-openpgp makes its keys in a thread, and answers 6F00 until one is ready."""
    deadline = time.monotonic() + 20
    while True:
        status = channel.transmit(command, timeout=30)[-2:]
        if status == b"\x90\x00" or status[0] == 0x61:
            return
        assert status == b"\x6f\x00", f"{command[:4].hex()} was answered with {status.hex()}"
        assert time.monotonic() < deadline
        time.sleep(0.1)
