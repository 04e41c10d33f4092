"""Smart cards: an exchange through our channel, beside pyscard's own, with a virtual card in a process of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from benchmarks.rows import Row, in_turns
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, describe_card, insert_card, shared_daemon
from tests.softhsm import set_pin
from tokens import open_secrets
from tokens.smartcard.apdu import commands
from tokens.smartcard.apdu.encoding import exchange
from tokens.smartcard.profile_table import read_profile
from tokens.smartcard.readers.channel import Channel

EXCHANGES = 500
AUTHENTICATIONS = 100
READER = "Rig A 00 00"


def run() -> Iterator[Row]:
    """One exchange, and one whole authentication."""
    with tempfile.TemporaryDirectory() as state:
        os.environ["TOKENS_STATE"] = state
        card = shared_daemon().card(READER, **describe_card("authentication"))
        insert_card(card)
        try:
            yield _exchange()
            yield from _authentication()
        finally:
            card.stop()


def _exchange() -> Row:
    # Imported late: pcsc-lite's client reads at its first call where the daemon is.
    from smartcard.System import readers

    from tokens.manager import default_manager

    channel = Channel(default_manager().cards.contexts, READER, exclusive=False)
    bare = next(reader for reader in readers() if str(reader) == READER).createConnection()
    bare.connect(disposition=0)
    challenge = commands.get_challenge()
    try:

        def ours() -> None:
            for _ in range(EXCHANGES):
                exchange(lambda apdu: channel.transmit(apdu, 1.0), challenge, extended=False)

        def pyscard() -> None:
            for _ in range(EXCHANGES):
                bare.transmit([0x00, 0x84, 0x00, 0x00, 0x08])

        exchange(
            lambda apdu: channel.transmit(apdu, 1.0),
            commands.select_application(bytes.fromhex(str(AUTHENTICATION_CARD["aid"]))),
            extended=False,
        )
        seconds = in_turns({"ours": ours, "pyscard": pyscard}, rounds=7)
    finally:
        bare.disconnect()
        bare.release()
        channel.close()
    return Row(
        "one exchange with a card, encoded, sent, checked, with a deadline, beside pyscard's transmit",
        f"{seconds['ours'] / EXCHANGES * 1e6:.0f} µs",
        f"{seconds['pyscard'] / EXCHANGES * 1e6:.0f} µs",
        seconds["ours"] / seconds["pyscard"],
        "<= 1.5",
    )


def _authentication() -> Iterator[Row]:
    profiles = {"test": read_profile("test", AUTHENTICATION_CARD)}
    pin = set_pin(PIN)
    for sharing in ("exclusive", "transactions"):
        uri = f"card:reader={READER.replace(' ', '%20')};profile=test;sharing={sharing}"
        with open_secrets(uri, pin=pin, profiles=profiles) as secrets:

            def authenticate(secrets: object = secrets) -> None:
                for _ in range(AUTHENTICATIONS):
                    with secrets.authentication(1) as held:  # type: ignore[attr-defined]
                        held.internal_authenticate(bytes(8))
                        _ = held.challenge

            seconds = in_turns({"ours": authenticate}, rounds=3)
        yield Row(f"authentications a second, {sharing}", f"{AUTHENTICATIONS / seconds['ours']:.0f}", "")
