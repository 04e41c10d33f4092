"""Debian's vicc as an ISO/IEC 7816 card with a known secret: `python -m tests.cards.bridges.vicc PORT SECRET PIN`.

The package virtualsmartcard is not on any Python's path as Debian ships it. The secret is a two-key triple DES key, in
hexadecimal. Known quirks of 3.3: EXTERNAL AUTHENTICATE wants the challenge padded with 80 00… before it is encrypted.
"""

from __future__ import annotations

import logging
import sys

sys.path.insert(0, "/usr/lib/python3/site-packages/virtualsmartcard")

from virtualsmartcard.SmartcardFilesystem import MF
from virtualsmartcard.SmartcardSAM import SAM
from virtualsmartcard.VirtualSmartcard import Iso7816OS

from tests.cards.link import insert, serve


class Bridge:
    """Satisfies `tests.cards.link.Card`."""

    def __init__(self, secret: bytes, pin: bytes) -> None:
        master_file = MF()
        memory = SAM(pin, b"1234567890", master_file, cardSecret=secret)
        memory.set_MF(master_file)
        self.card = Iso7816OS(master_file, memory)
        self.atr = bytes(self.card.getATR())

    def power(self, on: bool) -> None:
        """As the card."""
        if on:
            self.card.powerUp()
        else:
            self.card.powerDown()

    def answer(self, apdu: bytes) -> bytes:
        """As the card."""
        try:
            return bytes(self.card.execute(apdu))
        except Exception:
            logging.exception("The card failed at INS %02X.", apdu[1])
            return b"\x6f\x00"


if __name__ == "__main__":
    logging.disable(logging.INFO)
    serve(insert(int(sys.argv[1])), Bridge(bytes.fromhex(sys.argv[2]), sys.argv[3].encode()))
