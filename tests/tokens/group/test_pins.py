"""PINs of the members of a group, counted by the proxy module through which both tokens are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.softhsm import set_pin
from tests.tokens import scenes
from tests.tokens.group.conftest import Copies, new_copies
from tests.tokens.proxy import Proxy

OPEN = """
    from tokens.group import open_key_group
    from tokens.events import KeyUse, subscribe
    def states():
        return " ".join(member.state.value for member in key.device.members)
    def probe(times=1):
        for _ in range(times):
            clock[0] += 5
            key.device._pool.probe_due()
    clock = [100.0]
    try:
        key = open_key_group(uris, clock=lambda: clock[0], background=False)
    except TokenError as error:
        print(type(error).__name__)
        raise SystemExit
"""


@pytest.fixture(scope="module")
def pair(softhsm: Path) -> Copies:
    return new_copies("one", "two")


def play(proxy: Proxy, pair: Copies, code: str, pins: tuple[str, str] | None = None) -> list[str]:
    """Play a scene with the group of both tokens, whose PIN sources may be others than the right ones."""
    sources = pins or (pair.tokens[0].pin, pair.tokens[1].pin)
    uris = [
        f"{proxy.serving(token.uri('node', pin=False))}&pin-source={source}"
        for token, source in zip(pair.tokens, sources, strict=True)
    ]
    lines = [line.removeprefix("    ") for line in OPEN.splitlines()]
    return scenes.play("\n".join([*lines, code]), *uris, environment=proxy.environment())


def test_a_wrong_pin_of_both_tokens_is_presented_to_one_of_them_once(proxy: Proxy, pair: Copies) -> None:
    wrong = set_pin("000000")
    for _ in range(2):  # in a second process, too
        assert play(proxy, pair, "", (wrong, wrong))[0] in ("PinRefusedError", "PinNotPresentedError")
    assert proxy.presented() == ["C_Login 000000"]


def test_the_order_of_the_tokens_does_not_matter_to_a_later_process(proxy: Proxy, pair: Copies) -> None:
    wrong = set_pin("000000")
    play(proxy, pair, "", (wrong, wrong))
    swapped = Copies(pair.tokens[::-1], pair.key, pair.uris[::-1])
    assert play(proxy, swapped, "", (wrong, wrong)) == ["PinNotPresentedError"]
    assert proxy.presented() == ["C_Login 000000"]


def test_a_member_that_refused_its_pin_gets_none_while_the_other_fails_and_is_probed(
    proxy: Proxy, pair: Copies
) -> None:
    wrong = set_pin("000000")
    proxy.rule("C_Sign token=two rv=0x32 skip=1")
    said = play(
        proxy,
        pair,
        """
sign(key)
print(states())
said(lambda: sign(key))
print(states())
probe(3)
said(lambda: sign(key))
""",
        (wrong, pair.tokens[1].pin),
    )
    assert said == ["excluded closed", "TokenLostError", "excluded open", "TokenLostError"]
    assert proxy.presented().count("C_Login 000000") == 1


def test_a_value_that_one_member_refused_is_not_presented_to_one_that_has_lost_its_login(
    proxy: Proxy, pair: Copies
) -> None:
    """Both tokens have one PIN source; the first one refuses it when it comes back, and then the second is lost."""
    import os

    shared = set_pin("123456")
    first, second = pair.tokens
    right = {token.label: os.environ[token.pin.removeprefix("env:")] for token in pair.tokens}
    said = play(
        proxy,
        pair,
        f"""
import time
from tokens.pins.refusals import RefusalMemory
with open({str(proxy.folder / "rules")!r}, "w") as rules:
    rules.write("C_Login token=one rv=0xa0\\nC_Sign token=one rv=0x101 times=1\\n")
sign(key)
print(states())
with open({str(proxy.folder / "rules")!r}, "w") as rules:
    rules.write("C_Sign token=two rv=0x101 times=1\\n")
said(lambda: sign(key))
print(states())
probe(3)
said(lambda: sign(key))
""",
        (shared, shared),
    )
    assert right
    assert said == ["excluded closed", "PinNotPresentedError", "excluded excluded", "PinNotPresentedError"]
    assert proxy.presented().count("C_Login 123456") == 3
