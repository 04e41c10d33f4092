"""The program that a card of our own runs in, steered through a Unix socket by one JSON object a line.

    python -m tests.cards.program CONTROL PORT '{"card": "authentication", "serial": "01", …}'

| "do"      | what happens                                                                            |
|-----------|-----------------------------------------------------------------------------------------|
| insert    | the card goes into the slot                                                             |
| pull      | the card leaves it                                                                      |
| become    | the card leaves, and is from now on the one of "card" (as on the command line)          |
| swap      | the same, and the new one goes in, in one moment                                        |
| fault     | the next command, or the one after "skip" others, meets the "fault" (see `Fault`)       |
| release   | whatever hangs goes on                                                                  |
| state     | nothing; each answer tells tries left, commands by INS, and whether the card is in      |
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.cards.authentication import AuthenticationCard
from tests.cards.iso7816 import Iso7816Card
from tests.cards.link import Misbehaviour, insert, pull, serve
from tests.cards.piv import PivCard


def make(description: dict[str, Any]) -> Iso7816Card:
    """The card that a description asks for."""
    options = dict(description)
    kind = options.pop("card")
    options["pin"] = options.get("pin", "123456").encode()
    options.setdefault("extended", True)
    if kind == "piv":
        return PivCard(**options)
    options["keys"] = {int(k, 16): bytes.fromhex(v) for k, v in options.get("keys", {}).items()}
    options.setdefault("needs_pin", True)
    return AuthenticationCard(**options)


class FaultyCard:
    """A card in front of which commands can be made to go wrong."""

    def __init__(self, card: Iso7816Card) -> None:
        self.card = card
        self.atr = card.atr
        self.released = threading.Event()
        self.hanging = False
        self._fault: dict[str, Any] | None = None

    def expect(self, fault: dict[str, Any]) -> None:
        """Have a coming command meet a fault."""
        self.released.clear()
        self._fault = dict(fault)

    def power(self, on: bool) -> None:
        """As the card."""
        self.card.power(on)

    def answer(self, apdu: bytes) -> bytes | Misbehaviour:
        """As the card, unless a fault is due."""
        fault = self._fault
        if fault is None:
            return self.card.answer(apdu)
        if fault.get("skip"):
            fault["skip"] -= 1
            return self.card.answer(apdu)
        self._fault = None
        return self._go_wrong(fault, apdu)

    def _go_wrong(self, fault: dict[str, Any], apdu: bytes) -> bytes | Misbehaviour:
        kind = fault["fault"]
        if kind == "hang":
            self.hanging = True
            self.released.wait()
            self.hanging = False
            return Misbehaviour.PULLED
        if kind == "slow":
            time.sleep(fault["seconds"])
            return self.card.answer(apdu)
        if kind == "pulled":
            return Misbehaviour.PULLED
        if kind == "pulled after":
            self.card.answer(apdu)
            return Misbehaviour.PULLED
        if kind == "truncated":
            return Misbehaviour.TRUNCATED
        if kind == "reset":
            self.card.power(True)
            return self.card.answer(apdu)
        return bytes.fromhex(fault["answer"])


class Slot:
    """One slot and what is in it."""

    def __init__(self, port: int, description: dict[str, Any]) -> None:
        self.port = port
        self.card = FaultyCard(make(description))
        self.wire: socket.socket | None = None

    def insert(self) -> None:
        """Put the card in; its volatile state is gone."""
        self.card.power(False)
        self.wire = insert(self.port)
        threading.Thread(target=serve, args=(self.wire, self.card), daemon=True).start()

    def pull(self) -> None:
        """Take the card out."""
        wire, self.wire = self.wire, None
        if wire is not None:
            pull(wire)
        self.card.released.set()

    def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        match request["do"]:
            case "insert":
                self.insert()
            case "pull":
                self.pull()
            case "become" | "swap":
                other = FaultyCard(make(request["card"]))
                self.pull()
                self.card = other
                if request["do"] == "swap":
                    self.insert()
            case "fault":
                self.card.expect(request)
            case "release":
                self.card.released.set()
        inner = self.card.card
        return {
            "tries": {f"{reference:02x}": pin.tries for reference, pin in inner.pins.items()},
            "verified": {f"{reference:02x}": pin.verified for reference, pin in inner.pins.items()},
            "calls": dict(inner.calls),
            "hanging": self.card.hanging,
            "inserted": self.wire is not None and self.wire.fileno() >= 0,
        }


def main(control: Path, port: int, description: dict[str, Any]) -> None:
    """Serve requests until the tests close the socket."""
    slot = Slot(port, description)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen(1)
        connection, _ = listener.accept()
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        for line in lines:
            try:
                answer = slot.do(json.loads(line))
            except Exception as error:
                answer = {"error": repr(error)}
            lines.write(json.dumps(answer) + "\n")
            lines.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
