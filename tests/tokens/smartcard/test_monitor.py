"""Cards and the service come and go, and are said to."""

from __future__ import annotations

import threading

from tests.cards.fixtures import PutIn, insert_card, wait_until_gone
from tokens.manager import default_manager
from tokens.smartcard.monitor import CardEvent, Change, watch_readers


def test_insertion_and_removal_are_reported(put_in: PutIn) -> None:
    card = put_in()
    told: list[CardEvent] = []
    watching = threading.Thread(
        target=lambda: told.extend(watch_readers(default_manager().cards, "Rig A 00 00", timeout=3.0))
    )
    watching.start()
    card.do("pull")
    wait_until_gone(card.reader)
    insert_card(card)
    watching.join(10)
    assert [event.change for event in told] in (
        [Change.REMOVED, Change.INSERTED],
        # Put in while the first look was taken.
        [Change.INSERTED],
    )
    assert {event.reader for event in told} == {"Rig A 00 00"}
    assert all(event.atr is not None and b"HSM TEST AUTH" in event.atr for event in told)
