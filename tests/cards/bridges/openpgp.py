"""PyPI's smartcard with smartcard-app-openpgp, an OpenPGP card: `python -m tests.cards.bridges.openpgp PORT`."""

from __future__ import annotations

import logging
import sys

from smartcard import MASTER_FILE_IDENTIFIER
from smartcard import Card as CardWithApplications
from smartcard.app.openpgp import OpenPGP
from smartcard.utils import transaction_manager

from tests.cards.link import insert, serve

_SELECT_DATA = 0xA5


class Bridge:
    """Satisfies `tests.cards.link.Card`."""

    def __init__(self) -> None:
        with transaction_manager:
            self.card = CardWithApplications(name=b"openpgp")
            application = OpenPGP(identifier=b"\x12\x34")
            application.activateSelf()
            self.card.createFile(self.card.traverse((MASTER_FILE_IDENTIFIER,)), application)
        self.atr = bytes(self.card.getATR())

    def power(self, on: bool) -> None:
        """As the card."""
        self.card.clearVolatile()

    def answer(self, apdu: bytes) -> bytes:
        """As the card, but for SELECT DATA, which OpenSC sends to cards of version 3 and this one does not know."""
        if apdu[1] == _SELECT_DATA:
            return b"\x90\x00"
        try:
            return bytes(self.card.runAPDU(bytearray(apdu)))
        except Exception:
            logging.exception("The card failed at INS %02X.", apdu[1])
            return b"\x6f\x00"


if __name__ == "__main__":
    logging.disable(logging.INFO)
    serve(insert(int(sys.argv[1])), Bridge())
