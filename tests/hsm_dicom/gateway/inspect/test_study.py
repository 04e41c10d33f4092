"""The study of an instance: found wherever it may be, unknown where it cannot be found, and nothing else."""

from __future__ import annotations

import os
import zlib

import pytest

from hsm_dicom.gateway.inspect.scanner import MOST_ELEMENTS, MOST_LEVELS
from hsm_dicom.gateway.inspect.study import MOST_INFLATED, MOST_INFLATING
from hsm_dicom.gateway.tap import AcceptedContext
from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    PATIENT,
    STUDY,
    ct,
    encoded,
    inspect,
    store,
    store_request,
    store_response,
)
from tests.hsm_dicom.gateway.inspect.elements import (
    PATIENT_NAME,
    STUDY_INSTANCE_UID,
    UNDEFINED,
    command,
    data,
    delimiter,
    element,
    item,
    sequence,
    store_rq,
    store_rsp,
    study,
)

NATIVE = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
REFERENCES, PRIVATE, FRAGMENTS = 0x00081140, 0x00091010, 0x00091011


def found_study(content: bytes, syntax: str = EXPLICIT) -> str:
    """The study that is reported, which is the same however the Data Set is cut into pieces."""
    found = set()
    for cuts in ([1 << 20], [1], [7, 3, 11], [997]):
        (instance,) = inspect(store(content), syntax, cuts=cuts).instances
        assert instance.size == len(content)
        found.add(instance.study_instance_uid)
    (uid,) = found
    return uid


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@NATIVE
def test_the_study_is_found_behind_sequences_of_undefined_length(syntax: str) -> None:
    other = study(syntax, "1.9.9")
    inner = sequence(syntax, REFERENCES, item(syntax, other), item(syntax, other, undefined=False))
    whole = sequence(syntax, REFERENCES, item(syntax, inner + other), item(syntax, b""), item(syntax, inner))
    assert found_study(whole + study(syntax), syntax) == STUDY


@NATIVE
def test_the_study_is_found_behind_a_sequence_of_defined_length(syntax: str) -> None:
    content = item(syntax, study(syntax, "1.9.9")) * 3
    assert found_study(element(syntax, REFERENCES, "SQ", content) + study(syntax), syntax) == STUDY


@NATIVE
def test_a_study_inside_a_sequence_is_not_that_of_the_instance(syntax: str) -> None:
    assert found_study(sequence(syntax, REFERENCES, item(syntax, study(syntax))), syntax) == ""


@NATIVE
def test_the_study_is_found_behind_a_large_private_element(syntax: str) -> None:
    content = study(syntax, "1.9.9") + os.urandom(70_000)
    assert found_study(element(syntax, PRIVATE, "UN", content) + study(syntax), syntax) == STUDY


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_an_unknown_value_of_undefined_length_is_a_sequence_in_implicit_vr_little_endian(syntax: str) -> None:
    nested = sequence(IMPLICIT, REFERENCES, item(IMPLICIT, study(IMPLICIT, "1.9.9")))
    unknown = sequence(syntax, PRIVATE, item(IMPLICIT, nested), vr="UN", inside=IMPLICIT)
    again = sequence(syntax, PRIVATE + 1, item(syntax, study(syntax, "1.9.9")))
    assert found_study(unknown + again + study(syntax), syntax) == STUDY


def test_the_study_is_found_behind_a_private_value_in_fragments() -> None:
    fragments = item(EXPLICIT, b"", undefined=False) + item(EXPLICIT, os.urandom(5000), undefined=False)
    assert found_study(sequence(EXPLICIT, FRAGMENTS, fragments, vr="OB") + study(EXPLICIT)) == STUDY


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_an_instance_without_a_study_is_reported_without_one(syntax: str) -> None:
    assert found_study(encoded(ct(study=None), syntax), syntax) == ""
    assert found_study(b"", syntax) == ""


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"])
def test_compressed_instances_have_a_study(syntax: str) -> None:
    assert found_study(encoded(ct()), syntax) == STUDY


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.3.46.670589.33.1.4.1", ""])
def test_in_an_unknown_transfer_syntax_the_study_is_unknown(syntax: str) -> None:
    assert found_study(encoded(ct()), syntax) == ""


@pytest.mark.parametrize(
    "uid", ["", PATIENT, "4711", "9434765919", "1.2.", ".1.2", "1..2", "1.2 .3", "3.1.2", "1.2\n3", "1.2.3" * 13, "é"]
)
def test_what_is_no_uid_is_not_reported(uid: str) -> None:
    assert found_study(study(EXPLICIT, uid)) == ""
    value = uid.encode().ljust(2, b" ")
    (instance,) = inspect([command(store_rq(value)), data(b""), command(store_rsp(value), BACK)]).instances
    assert (instance.sop_class_uid, instance.sop_instance_uid) == ("", "")


@pytest.mark.parametrize("uid", ["1.2", "0.1", "2.25." + "9" * 59, "1.02.3"])
@pytest.mark.parametrize("padding", [b"", b"\0", b" "])
def test_uids_of_every_length_are_reported(uid: str, padding: bytes) -> None:
    value = uid.encode() + padding if len(uid) % 2 else uid.encode()
    assert found_study(element(EXPLICIT, STUDY_INSTANCE_UID, "UI", value)) == uid


@pytest.mark.parametrize(
    "broken",
    [
        element(EXPLICIT, PRIVATE, "UN", b"", UNDEFINED - 1),
        element(EXPLICIT, PRIVATE, "UN", b"", UNDEFINED),
        element(EXPLICIT, PRIVATE, "UN", b"", UNDEFINED) + delimiter(EXPLICIT, 0xE00D),
        element(EXPLICIT, PATIENT_NAME, "LO", b"", 0xFFFF),
        element(EXPLICIT, PATIENT_NAME, "??", b"ab"),
        element(EXPLICIT, PATIENT_NAME, "\0\0", b"ab"),
        delimiter(EXPLICIT, 0xE000, UNDEFINED),
        delimiter(EXPLICIT, 0xE00D),
        delimiter(EXPLICIT, 0xE0DD),
        sequence(EXPLICIT, REFERENCES, delimiter(EXPLICIT, 0xE00D)),
        sequence(EXPLICIT, REFERENCES, element(EXPLICIT, PATIENT_NAME, "LO")),
        sequence(EXPLICIT, REFERENCES, item(EXPLICIT, delimiter(EXPLICIT, 0xE0DD))),
        sequence(EXPLICIT, REFERENCES, item(EXPLICIT, delimiter(EXPLICIT, 0xE000, UNDEFINED))),
        element(EXPLICIT, 0x7FE00010, "OW", b"ab"),
    ],
)
def test_behind_what_is_malformed_the_study_is_unknown(broken: bytes) -> None:
    assert found_study(broken + study(EXPLICIT)) == ""


def test_a_data_set_that_ends_inside_the_study_has_none() -> None:
    for length in range(1, len(study(EXPLICIT))):
        assert found_study(study(EXPLICIT)[:length]) == ""


def test_the_number_of_elements_that_are_read_is_bounded() -> None:
    def after(count: int) -> str:
        few = item(EXPLICIT, b"", undefined=False) * (count - 1)
        (instance,) = inspect(store(sequence(EXPLICIT, REFERENCES, few) + study(EXPLICIT))).instances
        return str(instance.study_instance_uid)

    assert after(MOST_ELEMENTS - 3) == STUDY
    assert after(MOST_ELEMENTS) == ""


def test_the_depth_that_is_followed_is_bounded() -> None:
    def inside(depth: int) -> str:
        nested = b""
        for _ in range(depth):
            nested = sequence(EXPLICIT, REFERENCES, item(EXPLICIT, nested))
        return found_study(nested + study(EXPLICIT))

    assert inside(MOST_LEVELS // 2) == STUDY
    assert inside(MOST_LEVELS // 2 + 1) == ""


def test_a_deflated_data_set_is_inflated_up_to_a_bound() -> None:
    def behind(size: int) -> str:
        return found_study(deflate(element(EXPLICIT, PRIVATE, "UN", bytes(size)) + study(EXPLICIT)), DEFLATED)

    assert behind(1 << 20) == STUDY
    assert behind(MOST_INFLATED - len(study(EXPLICIT)) - 12) == STUDY
    assert behind(MOST_INFLATED - len(study(EXPLICIT)) - 11) == ""


def test_what_does_not_inflate_has_no_study() -> None:
    whole = deflate(encoded(ct()))
    assert found_study(b"\xff" * 50, DEFLATED) == ""
    assert found_study(whole[:20] + b"\xff" * 50, DEFLATED) == ""
    assert found_study(deflate(b"") + whole, DEFLATED) == ""
    assert found_study(whole + b"behind it", DEFLATED) == STUDY


def test_few_deflated_data_sets_are_inflated_at_the_same_time() -> None:
    count = MOST_INFLATING + 1
    contexts = {2 * number + 1: AcceptedContext(CT, DEFLATED) for number in range(count)}
    content = encoded(ct(), DEFLATED)
    begun, rest = [], []
    for number, context_id in enumerate(contexts):
        instance = f"1.2.3.{number}"
        first, *fragments = store_request(content, number, instance, context_id=context_id, maximum=100)
        begun += [first, fragments[0]]
        rest += [*fragments[1:], *store_response(number, instance=instance, context_id=context_id)]
    reported = inspect([*begun, *rest], contexts=contexts)
    assert [one.study_instance_uid for one in reported.instances] == [STUDY] * MOST_INFLATING + [""]
    after = inspect([*begun, *rest, *store(content)], contexts=contexts)
    assert after.instances[-1].study_instance_uid == STUDY
