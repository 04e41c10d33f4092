"""PINs of the members of a group, counted by the proxy module through which both tokens are used."""

from __future__ import annotations

import itertools
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


_numbers = itertools.count()


def labels() -> tuple[str, str]:
    """New labels without blanks, which a rule of the proxy can name."""
    number = next(_numbers)
    return f"first-{number}", f"second-{number}"


@pytest.fixture
def pair(softhsm: Path) -> Copies:
    return new_copies(*labels())


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
    proxy.rule(f"C_Sign token={pair.tokens[1].label} rv=0x32 skip=1")
    lines = play(
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
    assert lines == ["excluded closed", "TokenLostError", "excluded open", "TokenLostError"]
    assert proxy.presented().count("C_Login 000000") == 1


@pytest.fixture
def pair_with_one_pin(softhsm: Path) -> Copies:
    return new_copies(*labels(), pin=set_pin("123456"))


def test_a_value_that_one_member_refused_is_not_presented_to_one_that_has_lost_its_login(
    proxy: Proxy, pair_with_one_pin: Copies
) -> None:
    first, second = (token.label for token in pair_with_one_pin.tokens)
    lines = play(
        proxy,
        pair_with_one_pin,
        f"""
rules = {str(proxy.folder / "rules")!r}
def rule(text):
    with open(rules + ".new", "w") as file:
        file.write(text)
    os.rename(rules + ".new", rules)
sign(key)
rule("C_Login token={first} rv=0xa0\\nC_SignInit token={first} lose=login times=1\\n")
sign(key)
probe()
print(states(), flush=True)
rule("")
sign(key)
rule("C_SignInit token={second} lose=login times=1\\n")
said(lambda: sign(key))
print(states(), flush=True)
probe(3)
rule("")
said(lambda: sign(key))
""",
    )
    assert lines == ["excluded closed", "PinNotPresentedError", "excluded excluded", "PinRefusedError"]
    assert [one.pin for one in proxy.presentations()] == ["123456"] * 3  # both at the start, then the refused one


def test_a_member_that_stays_logged_in_goes_on_after_the_other_has_refused_the_shared_pin(
    proxy: Proxy, pair_with_one_pin: Copies
) -> None:
    proxy.rule(f"C_Login token={pair_with_one_pin.tokens[0].label} rv=0xa0")
    lines = play(
        proxy,
        Copies(pair_with_one_pin.tokens[::-1], pair_with_one_pin.key, pair_with_one_pin.uris[::-1]),
        """
print(states())
for _ in range(3):
    sign(key)
    probe()
print(states())
""",
    )
    assert lines == ["closed excluded", "closed excluded"]
    assert [one.pin for one in proxy.presentations()] == ["123456"] * 2
