"""What an inspector keeps: no data of a patient at any time, and a bounded amount of memory."""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import tracemalloc
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType

import pytest

from hsm_dicom.events import subscribe
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.inspect.exchanges import MOST_OUTSTANDING
from hsm_dicom.gateway.inspect.scanner import MOST_LEVELS
from hsm_dicom.gateway.tap import AcceptedContext
from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    FORTH,
    IMPLICIT,
    PATIENT,
    Reported,
    Value,
    ct,
    encoded,
    feed,
    inspect,
    store,
)
from tests.hsm_dicom.gateway.inspect.elements import (
    UNDEFINED,
    command,
    data,
    delimiter,
    element,
    number,
    sequence,
    store_rq,
    store_rsp,
    text,
)

PARTS = [PATIENT[at : at + 4] for at in range(len(PATIENT) - 3)]
"""Every four neighbouring characters of the patient's name, so that a part of it is found too."""


def reachable(*roots: object) -> Iterator[object]:
    """Everything that is kept by these objects, apart from code and from what modules hold."""
    waiting, seen = list(roots), set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FunctionType):
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__]
        elif isinstance(one, MethodType):
            waiting += [one.__self__, one.__func__]
        else:
            waiting += gc.get_referents(one)


def holds_name(*roots: object) -> bool:
    """Whether a part of the patient's name is in characters or octets that these objects keep."""
    for one in reachable(*roots):
        if isinstance(one, str):
            characters = one
        elif isinstance(one, bytes | bytearray):
            characters = one.decode("latin-1")
        else:
            continue
        if any(part in characters for part in PARTS):
            return True
    return False


def modules() -> list[object]:
    """What the modules of the inspection hold, such as caches."""
    return [
        value
        for name, module in list(sys.modules.items())
        if name.startswith("hsm_dicom.gateway.inspect")
        for value in vars(module).values()
    ]


def conversation(syntax: str) -> list[Value]:
    """Messages with the patient's name in every element that may have one."""
    name = PATIENT.encode()
    item = delimiter(syntax, 0xE000, UNDEFINED) + element(syntax, 0x00100010, "PN", name) + delimiter(syntax, 0xE00D)
    nested = sequence(syntax, 0x00081120, item) if syntax != DEFLATED else b""
    find = number(0x0100, 0x0020) + number(0x0110, 3) + number(0x0800, 1) + text(0x0600, name)
    found = number(0x0100, 0x8020) + number(0x0120, 3) + number(0x0800, 1) + number(0x0900, 0xFF00) + text(0x0902, name)
    return [
        *store(nested + encoded(ct(), syntax)),
        command(find),
        data(encoded(ct())),
        *[command(found, BACK), data(encoded(ct()), BACK)] * 2,
        command(found.replace(number(0x0900, 0xFF00), number(0x0900, 0xC000)), BACK),
        data(b"", BACK),
        command(store_rq(message_id=2)),
        data(nested + encoded(ct(study=None), syntax)),
        command(store_rsp(message_id=2, status=0xC000) + text(0x0902, name), BACK),
    ]


def wrong_conversation() -> list[Value]:
    """Messages with the patient's name where there should be a UID, a number or a header."""
    name = PATIENT.encode()
    return [
        command(store_rq(name)),
        data(element(EXPLICIT, 0x0020000D, "UI", name)),
        command(store_rsp(name), BACK),
        command(b"\xff\0" + name),
        data(name),
        command(store_rq().replace(number(0x0110, 1), text(0x0110, name))),
        command(store_rq()),
        data(b"\x08\0" + name),
        command(store_rsp(), BACK),
    ]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("cut", [3, 16, 1 << 20])
def test_no_part_of_a_patients_name_is_kept_at_any_time(
    syntax: str, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reported = Reported()
    seen: list[bool] = []
    with subscribe(reported.events.append):
        inspector = Inspector("to-pacs", "192.168.10.21", reported.count)
        inspector.begin({1: AcceptedContext(CT, syntax)})
        for value in conversation(syntax):
            for at in range(0, len(value.data), cut):
                last = at + cut >= len(value.data)
                feed(inspector, value._replace(data=value.data[at : at + cut]), itertools.repeat(cut), last)
                seen.append(holds_name(inspector))
        inspector.end()
    assert len(seen) > 10
    assert not any(seen)
    assert len(reported.instances) == 2
    assert len(reported.requests) == 1
    assert not holds_name(inspector, reported, *modules())
    assert not any(part in repr(reported) + repr(inspector) + caplog.text for part in PARTS)
    assert "was stored" in caplog.text


@pytest.mark.parametrize("cut", [3, 1 << 20])
def test_a_name_in_the_place_of_a_uid_is_not_kept_when_its_message_is_over(cut: int) -> None:
    reported = Reported()
    with subscribe(reported.events.append):
        inspector = Inspector("to-pacs", "192.168.10.21", reported.count)
        inspector.begin({1: AcceptedContext(CT, EXPLICIT)})
        for value in wrong_conversation():
            feed(inspector, value, itertools.repeat(cut))
            is_over = value.direction is BACK or (value.control & 2 and not value.control & 1)
            assert not (is_over and holds_name(inspector)), value
    assert [one.sop_instance_uid for one in reported.instances] == ["", "1.2.3.6.1"]
    assert not holds_name(inspector, reported, *modules())


def test_no_uid_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (instance,) = inspect(store(encoded(ct()))).instances
    assert caplog.text.count("an instance of CT Image Storage") == 1
    for uid in (instance.sop_class_uid, instance.sop_instance_uid, instance.study_instance_uid):
        assert uid
        assert uid not in caplog.text


def test_a_name_that_is_kept_would_be_found() -> None:
    for kept in (PATIENT, PATIENT.encode(), bytearray(PATIENT.encode()[3:9]), [{"a": (PATIENT[:5],)}], lambda: PATIENT):
        assert holds_name(kept) or callable(kept)
    held = PATIENT + "."
    assert holds_name(lambda: held)
    inspector = Inspector(held, "", print)
    assert holds_name(inspector)
    assert not holds_name(Inspector("to-pacs", "192.168.10.21", print))


def measure(values: list[Value], syntaxes: dict[int, str]) -> int:
    """Bytes that an inspector keeps after these values."""
    contexts = {number: AcceptedContext(CT, syntax) for number, syntax in syntaxes.items()}
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        inspector = Inspector("to-pacs", "192.168.10.21", lambda outcome: None)
        inspector.begin(contexts)
        for value in values:
            feed(inspector, value, itertools.repeat(1 << 20))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def test_an_association_uses_a_few_kilobytes_as_a_rule() -> None:
    inspect(store(encoded(ct())))  # what is loaded and cached once
    values = [value for count in range(50) for value in store(encoded(ct()), count)]
    assert measure(values, {1: EXPLICIT}) < 8 << 10


def test_the_memory_of_one_association_is_bounded_whatever_its_peers_send() -> None:
    ids = range(256)
    syntaxes = {context_id: DEFLATED if context_id % 3 == 0 else EXPLICIT for context_id in ids}
    longest = b"2.25." + b"9" * 59
    nested = b"".join(
        element(EXPLICIT, 0x00081140, "SQ", b"", UNDEFINED) + delimiter(EXPLICIT, 0xE000, UNDEFINED)
        for _ in range(MOST_LEVELS // 2)
    )
    values = []
    for count, (context_id, direction) in enumerate(itertools.product(ids, (FORTH, BACK))):
        begun = command(store_rq(longest, count), direction, context_id=context_id)
        is_deflated = syntaxes[context_id] == DEFLATED
        content = encoded(ct(), DEFLATED)[:40] if is_deflated else nested + element(EXPLICIT, 0x00080018, "UI")[:7]
        values += [begun, data(content, direction, last=False, context_id=context_id)]
    assert measure(values, syntaxes) < 1 << 20
    commands = [
        command(store_rq(longest, count)[:-3], direction, last=False, context_id=context_id)
        for count, (context_id, direction) in enumerate(itertools.product(ids, (FORTH, BACK)))
    ]
    filled = [command(store_rq(longest, count)) for count in range(MOST_OUTSTANDING)]
    complete = [value for one in filled for value in (one, data(b""))]
    assert measure([*complete, *commands], syntaxes) < 1 << 20
