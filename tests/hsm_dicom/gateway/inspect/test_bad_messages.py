"""Messages that are malformed: counted once each, and the ones after them are followed."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.gateway.inspect.commands import MOST_OCTETS
from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    FORTH,
    IMPLICIT,
    Value,
    ct,
    encoded,
    inspect,
    store,
    store_request,
    store_response,
)
from tests.hsm_dicom.gateway.inspect.elements import (
    UNDEFINED,
    command,
    data,
    delimiter,
    element,
    number,
    store_rq,
    store_rsp,
    text,
)

MALFORMED = {
    "empty": b"",
    "cut off in a header": store_rq()[:-20],
    "cut off in a value": store_rq()[:-1],
    "no Command Field": store_rq().replace(number(0x0100, 1), b""),
    "Command Field of four bytes": store_rq().replace(number(0x0100, 1), text(0x0100, b"\1\0\0\0")),
    "unknown Command Field": store_rq().replace(number(0x0100, 1), number(0x0100, 0x0FF0)),
    "no Message ID": store_rq().replace(number(0x0110, 1), b""),
    "no Command Data Set Type": store_rq().replace(number(0x0800, 1), b""),
    "another group": store_rq() + element(IMPLICIT, 0x00080005, "CS", b"ab"),
    "undefined length": element(IMPLICIT, 0x00000001, "UN", store_rq(), UNDEFINED),
    "an Item": delimiter(IMPLICIT, 0xE000, 4) + store_rq(),
    "length beyond the end": element(IMPLICIT, 0x00000001, "UN", store_rq(), 1 << 31),
    "explicit VR": element(EXPLICIT, 0x00000100, "US", b"\1\0"),
    "random": bytes(range(7, 107)),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("cuts", [[1 << 20], [1], [5, 2]])
def test_a_malformed_command_set_is_counted_once_and_its_data_set_ignored(name: str, cuts: list[int]) -> None:
    bad = [command(MALFORMED[name]), data(b"abc", last=False), data(encoded(ct()))]
    good = store(encoded(ct()))
    reported = inspect([*bad, *good], cuts=cuts)
    assert reported.counts == {"not-followed": 1, "stored": 1}
    assert reported.events == inspect(good).events


def test_a_command_set_over_the_bound_is_not_followed() -> None:
    whole = store_rq() + text(0x1000, b"1.2.3\0")
    filling = text(0x0001, bytes(MOST_OCTETS - len(whole) - 8))
    good = [data(b""), command(store_rsp(b"1.2.3\0"), BACK)]
    assert inspect([command(filling + whole), *good]).counts == {"stored": 1}
    longer = inspect([command(filling + whole + text(0x0003, b"")), *good, *store(encoded(ct()))])
    assert longer.counts == {"not-followed": 2, "stored": 1}


def test_a_command_set_without_an_end_is_counted_once() -> None:
    filling = text(0x0001, bytes(1000))
    endless = [command(filling, last=False)] * 200
    ended = [*endless, command(b"", last=True), data(b"")]
    reported = inspect([*ended, *store(encoded(ct()))])
    assert reported.counts == {"not-followed": 1, "stored": 1}


def test_a_data_set_without_a_command_is_counted_once() -> None:
    stray = [data(b"abc", last=False), data(b"def", last=False), data(b"ghi")]
    reported = inspect([*stray, *store(encoded(ct()))])
    assert reported.counts == {"not-followed": 1, "stored": 1}
    after = inspect([*store(encoded(ct())), *stray, *store(encoded(ct()), 2)])
    assert after.counts == {"not-followed": 1, "stored": 2}


def test_a_data_set_behind_a_message_without_one_is_counted() -> None:
    echo = number(0x0100, 0x0030) + number(0x0110, 1) + number(0x0800, 0x0101)
    assert inspect([command(echo), data(b"abc")]).counts == {"not-followed": 1}


def test_a_command_in_the_middle_of_a_data_set_ends_its_message() -> None:
    first, *fragments = store_request(encoded(ct()), instance="1.2.1", maximum=200)
    cut_off = [first, *fragments[:-1]]
    reported = inspect([*cut_off, *store(encoded(ct()), 2), *store_response(instance="1.2.1")])
    assert [one.sop_instance_uid for one in reported.instances] == ["1.2.3.6.1"]
    assert reported.counts == {"not-followed": 2, "stored": 1}


def test_a_data_set_in_the_middle_of_a_command_ends_its_message() -> None:
    reported = inspect([command(store_rq()[:30], last=False), data(b"abc"), *store(encoded(ct()))])
    assert reported.counts == {"not-followed": 1, "stored": 1}
    inside = [command(b"\xff" * 30, last=False), data(b"abc"), *store(encoded(ct()))]
    assert inspect(inside).counts == {"not-followed": 1, "stored": 1}


def test_a_c_store_without_a_data_set_has_no_size_and_no_study() -> None:
    empty = store_rq().replace(number(0x0800, 1), number(0x0800, 0x0101))
    (instance,) = inspect([command(empty), command(store_rsp(), BACK)]).instances
    assert (instance.size, instance.study_instance_uid) == (0, "")


def test_of_elements_that_are_there_twice_the_last_one_counts() -> None:
    twice = text(0x1000, b"1.2.1\0") + store_rq(b"1.2.2\0")
    (instance,) = inspect([command(twice), data(b""), command(store_rsp(b"1.2.2\0"), BACK)]).instances
    assert instance.sop_instance_uid == "1.2.2"


def test_a_message_in_an_unknown_context_is_followed_without_its_study() -> None:
    (instance,) = inspect(store(encoded(ct()), context_id=99)).instances
    assert instance.study_instance_uid == ""


def test_values_of_no_octets_are_harmless() -> None:
    empty = [command(b"", last=False), data(b"", BACK, last=False)]
    request = store_request(encoded(ct()))
    conversation = [empty[0], *request, data(b"", last=True), *store_response(), command(b"", last=True)]
    assert inspect(conversation).counts == {"stored": 1, "not-followed": 2}


VALUES = st.builds(
    Value,
    st.sampled_from([FORTH, BACK]),
    st.sampled_from([1, 3, 255]),
    st.integers(0, 255),
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([store_rq(), store_rsp(), encoded(ct()), encoded(ct(), DEFLATED), *MALFORMED.values()]),
    ),
)


@given(
    values=st.lists(VALUES, max_size=30),
    syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, "1.2.3"]),
    cuts=st.lists(st.integers(1, 30), max_size=4),
)
def test_property_nothing_that_a_peer_sends_raises_and_pieces_change_nothing(
    values: list[Value], syntax: str, cuts: list[int]
) -> None:
    whole, parts = inspect(values, syntax), inspect(values, syntax, cuts=cuts)
    assert (whole.events, whole.counts) == (parts.events, parts.counts)


def test_fuzz_single_octets_of_a_conversation_that_are_changed_raise_nothing() -> None:
    conversation = [*store(encoded(ct()), maximum=200), command(store_rq()), data(os.urandom(300))]
    octets = sum(len(value.data) for value in conversation)
    for position, change in zip(range(octets), itertools.cycle((0x00, 0x01, 0x80, 0xFF)), strict=False):
        at, changed = position, []
        for value in conversation:
            content = bytearray(value.data)
            if 0 <= at < len(content):
                content[at] ^= change
            at -= len(content)
            changed.append(value._replace(data=bytes(content)))
        reported = inspect(changed)
        assert sum(reported.counts.values()) >= 1
