"""DES keys in an officer's hands: parity, weak keys, components, check values."""

import pytest

from tokens.algorithms.des_keys import check_value, combine, encrypt_block, require_strong, set_odd_parity
from tokens.errors import CeremonyError


def test_components_combine_by_exclusive_or_and_get_odd_parity() -> None:
    components = [bytearray.fromhex("0123456789abcdef"), bytearray.fromhex("1111111111111111")]
    assert combine(components).hex() == "1032547698badcfe"


def test_one_component_is_not_shared_custody() -> None:
    with pytest.raises(CeremonyError, match="two components"):
        combine([bytearray(8)])


def test_a_component_of_another_length_is_named() -> None:
    with pytest.raises(CeremonyError, match="Component 2 has 7 bytes"):
        combine([bytearray(8), bytearray(7)])


def test_parity_makes_every_byte_odd() -> None:
    for value in range(256):
        key = bytearray([value])
        set_odd_parity(key)
        assert key[0].bit_count() % 2 == 1
        assert key[0] & 0xFE == value & 0xFE


@pytest.mark.parametrize("weak", ["0000000000000000", "0101010101010101", "fffffffffffffffe", "01fe01fe01fe01fe"])
def test_weak_keys_are_refused_whatever_their_parity(weak: str) -> None:
    with pytest.raises(CeremonyError, match="weak"):
        require_strong(bytearray.fromhex(weak))


def test_a_weak_key_really_undoes_itself() -> None:
    weak = bytearray.fromhex("e0e0e0e0f1f1f1f1")
    block = b"whatever"
    assert encrypt_block(weak, encrypt_block(weak, block)) == block


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(CeremonyError, match="8 bytes, not 16"):
        require_strong(bytearray(range(16)))


def test_the_check_value_is_the_published_one() -> None:
    assert check_value(bytearray.fromhex("0123456789abcdef")).hex() == "d5d44f"
