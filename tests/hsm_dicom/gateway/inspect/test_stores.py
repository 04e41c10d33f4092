"""C-STORE through an inspector: what is reported of each instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    FORTH,
    IMPLICIT,
    STUDY,
    ct,
    encoded,
    inspect,
    store,
    store_request,
    store_response,
)

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_instance_is_reported_when_its_receiver_has_answered(syntax: str) -> None:
    data = encoded(ct(), syntax)
    reported = inspect(store(data), syntax)
    (instance,) = reported.instances
    assert (instance.name, instance.address, instance.direction) == ("to-pacs", "192.168.10.21", "forth")
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, "1.2.3.6.1")
    assert (instance.study_instance_uid, instance.status, instance.size) == (STUDY, 0x0000, len(data))
    assert reported.counts == {"stored": 1}


@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    maximum=st.integers(24, 300),
    syntax=st.sampled_from(SYNTAXES),
)
def test_property_any_fragments_and_pieces_give_the_same_events(cuts: list[int], maximum: int, syntax: str) -> None:
    data = encoded(ct(), syntax)
    whole = inspect(store(data), syntax)
    parts = inspect(store(data, maximum=maximum), syntax, cuts=cuts)
    assert (parts.events, parts.counts) == (whole.events, whole.counts)


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (0x0000, "stored", "was stored"),
        (0x0001, "warning", "with a warning"),
        (0x0107, "warning", "with a warning"),
        (0xB000, "warning", "with a warning"),
        (0xB006, "warning", "with a warning"),
        (0xB007, "warning", "with a warning"),
        (0xA700, "failed", "was not stored"),
        (0x0111, "failed", "was not stored"),
        (0x0122, "failed", "was not stored"),
        (0xC001, "failed", "was not stored"),
        (0xFE00, "failed", "was not stored"),
        (0xFF00, "failed", "was not stored"),
        (0x4711, "failed", "was not stored"),
    ],
)
def test_an_instance_is_counted_by_its_status(status: int, outcome: str, words: str) -> None:
    reported = inspect(store(encoded(ct()), status=status))
    (instance,) = reported.instances
    assert instance.status == status
    assert words in instance.text
    assert f"status {status:04X}" in instance.text
    assert reported.counts == {outcome: 1}


def test_the_sentence_names_the_kind_of_instance_and_no_uid_of_it() -> None:
    (instance,) = inspect(store(encoded(ct()))).instances
    size = instance.size
    assert instance.text == (
        f"to-pacs: an instance of CT Image Storage from 192.168.10.21 was stored (status 0000, {size} bytes)."
    )


def test_an_instance_that_a_c_get_sends_back_is_reported_with_its_direction() -> None:
    data = encoded(ct())
    reported = inspect([*store_request(data, direction=BACK), *store_response(direction=FORTH)])
    (instance,) = reported.instances
    assert (instance.direction, instance.study_instance_uid, instance.size) == ("back", STUDY, len(data))
    assert "to 192.168.10.21" in instance.text


def test_an_instance_without_an_answer_is_counted_at_the_end_and_not_reported() -> None:
    reported = inspect(store_request(encoded(ct())))
    assert reported.events == []
    assert reported.counts == {"unanswered": 1}
    cut_off = inspect(store_request(encoded(ct()), maximum=100)[:-1])
    assert cut_off.counts == {"unanswered": 1}


def test_an_answer_before_the_end_of_the_data_set_is_reported_with_the_whole_size() -> None:
    data = encoded(ct())
    command, *fragments = store_request(data, maximum=300)
    answer = store_response(status=0xA700)
    reported = inspect([command, fragments[0], *answer, *fragments[1:]])
    (instance,) = reported.instances
    assert (instance.status, instance.size, instance.study_instance_uid) == (0xA700, len(data), STUDY)
    cut_off = inspect([command, fragments[0], *answer])
    assert [one.size for one in cut_off.instances] == [len(fragments[0].data)]
    assert cut_off.counts == {"failed": 1}
