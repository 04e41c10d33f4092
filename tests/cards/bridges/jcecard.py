"""PyPI's jcecard, an OpenPGP card: `python -m tests.cards.bridges.jcecard PORT FOLDER`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from jcecard.main import OpenPGPCard

from tests.cards.link import insert, serve

_SELECT_DATA = 0xA5


class Bridge:
    """Satisfies `tests.cards.link.Card`."""

    def __init__(self, folder: Path) -> None:
        self.card = OpenPGPCard(storage_path=folder)
        # It reports a touch for one key, and waits for none.
        self.card.card_state.key_aut.uif = 1
        self.atr = self.card.get_atr()

    def power(self, on: bool) -> None:
        """As the card."""
        if on:
            self.card.power_on()
            self.card.reset()
        else:
            self.card.power_off()

    def answer(self, apdu: bytes) -> bytes:
        """As the card, but for SELECT DATA, which OpenSC sends to cards of version 3 and this one does not know."""
        return b"\x90\x00" if apdu[1] == _SELECT_DATA else bytes(self.card.process_apdu(apdu))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    serve(insert(int(sys.argv[1])), Bridge(Path(sys.argv[2])))
