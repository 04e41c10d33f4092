"""The tap that inspects, against messages that somebody made up: python -m fuzz.messages [libFuzzer options].

Whatever passes, nothing is raised, the same is reported however it is cut into pieces, and what is reported holds
nothing but UIDs, numbers and the words of hsm-dicom.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hsm_dicom.gateway.inspect"]):
    from hsm_dicom.gateway.inspect import Outcome

from hsm_dicom.gateway.events import InstanceRelayed, RequestRelayed
from hsm_dicom.gateway.tap import AcceptedContext
from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    FORTH,
    IMPLICIT,
    Reported,
    Value,
    ct,
    encoded,
    inspect,
    store,
)
from tests.hsm_dicom.gateway.inspect.test_what_is_kept import conversation, wrong_conversation

LARGEST = 4 * 1024
"""Bytes of an input at the most: enough for a few messages, little enough to be quick."""

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
CONTEXTS = {2 * place + 1: AcceptedContext(CT, syntax) for place, syntax in enumerate(SYNTAXES)}

_UID = re.compile(r"([0-2](\.[0-9]+)+)?")
_TEXT = re.compile(r"to-pacs: [A-Za-z0-9 ().,/&-]+ (from|to) 192\.168\.10\.21 [a-zA-Z0-9 (),]+\.")
_HEADER = 3


def write(values: list[Value]) -> bytes:
    """Encode values as an input: direction, context and control in one octet, a length in two, and the content."""
    data = b""
    for direction, context_id, control, content in values:
        head = (direction is BACK) | (context_id // 2 & 3) << 1 | (control & 3) << 3
        data += bytes([head]) + len(content).to_bytes(2, "big") + content
    return data


def read(data: bytes) -> Iterator[Value]:
    """Decode an input; every octets are one."""
    at = 0
    while at + _HEADER <= len(data):
        head, length = data[at], int.from_bytes(data[at + 1 : at + _HEADER], "big")
        at += _HEADER
        yield Value(BACK if head & 1 else FORTH, 2 * (head >> 1 & 3) + 1, head >> 3 & 3, data[at : at + length])
        at += length


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    values = list(read(data))
    whole = inspect(values, contexts=CONTEXTS)
    check(whole)
    parts = inspect(values, contexts=CONTEXTS, cuts=[len(data) % 61 + 1, 3])
    assert (parts.events, parts.counts) == (whole.events, whole.counts), "pieces change what is reported"


def check(reported: Reported) -> None:
    """Check that what is reported holds nothing else."""
    assert set(reported.counts) <= set(Outcome)
    for event in reported.events:
        assert isinstance(event, InstanceRelayed | RequestRelayed)
        uids = [event.sop_class_uid]
        if isinstance(event, InstanceRelayed):
            uids += [event.sop_instance_uid, event.study_instance_uid]
        assert all(_UID.fullmatch(uid) and len(uid) <= 64 for uid in uids), "something else than a UID"
        assert _TEXT.fullmatch(event.text), event.text


def write_seeds(folder: Path) -> None:
    """Write conversations for the fuzzer to begin with."""
    for place, syntax in enumerate(SYNTAXES):
        context_id = 2 * place + 1
        values = [value._replace(context_id=context_id) for value in conversation(syntax)]
        (folder / f"all-{place}").write_bytes(write(values))
        stored = store(encoded(ct(), syntax), context_id=context_id, maximum=300)
        (folder / f"store-{place}").write_bytes(write(stored))
    (folder / "wrong").write_bytes(write(wrong_conversation()))


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        atheris.Setup([sys.argv[0], folder, f"-max_len={LARGEST}", *sys.argv[1:]], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
