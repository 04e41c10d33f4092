"""Messages as pynetdicom encodes them, and what an inspector reports when they pass it."""

from __future__ import annotations

import io
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydicom import Dataset
from pynetdicom import dimse_messages
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from hsm_dicom.events import Event, subscribe
from hsm_dicom.gateway.events import InstanceRelayed, RequestRelayed
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.tap import AcceptedContext, Direction

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
CT = str(CTImageStorage)
FORTH, BACK = Direction.FORTH, Direction.BACK

PATIENT = "SECRET^PATIENT"
"""A name that nothing may keep."""

STUDY = "1.2.3.4.5"


class Value(NamedTuple):
    """A Presentation Data Value that passes: a fragment of a message."""

    direction: Direction
    context_id: int
    control: int
    data: bytes


@dataclass
class Reported:
    """What an inspector reported."""

    events: list[Event] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def instances(self) -> list[InstanceRelayed]:
        return [event for event in self.events if isinstance(event, InstanceRelayed)]

    @property
    def requests(self) -> list[RequestRelayed]:
        return [event for event in self.events if isinstance(event, RequestRelayed)]

    def count(self, outcome: str) -> None:
        self.counts[outcome] += 1


def inspect(
    values: Iterable[Value],
    syntax: str = EXPLICIT,
    *,
    contexts: Mapping[int, AcceptedContext] | None = None,
    cuts: Sequence[int] = (),
    ends: bool = True,
) -> Reported:
    """Let values pass an inspector, in pieces of at most these lengths in turn, and return what it reports."""
    reported = Reported()
    with subscribe(reported.events.append):
        inspector = Inspector("to-pacs", "192.168.10.21", reported.count)
        inspector.begin(contexts or {1: AcceptedContext(CT, syntax)})
        lengths = itertools.cycle(cuts or [1 << 20])
        for value in values:
            feed(inspector, value, lengths)
        if ends:
            inspector.end()
    return reported


def feed(inspector: Inspector, value: Value, lengths: Iterator[int], is_end: bool = True) -> None:
    """Give a value, or without `is_end` its first part, to an inspector in pieces.

    The memory of a piece is overwritten after each call, as the relay's is.
    """
    at = 0
    while True:
        memory = bytearray(value.data[at : at + next(lengths)])
        at += len(memory)
        with memoryview(memory) as piece:
            ends = is_end and at == len(value.data)
            inspector.take(value.direction, value.context_id, value.control, piece, ends)
        memory[:] = b"\xff" * len(memory)
        if at == len(value.data):
            return


def ct(study: str | None = STUDY, **more: Any) -> Dataset:
    """A CT image, without much of what one has behind the study."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, "1.2.3.6.1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
    dataset.AccessionNumber, dataset.Modality, dataset.StudyDescription = PATIENT, "CT", PATIENT
    dataset.PatientName, dataset.PatientID = PATIENT, PATIENT
    if study is not None:
        dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = "1.2.3.5.1"
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = 16
    dataset.PixelData = bytes(512)
    dataset["PixelData"].VR = "OW"
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """A Data Set as it is sent in a Transfer Syntax."""
    data = encode(dataset, syntax == IMPLICIT, syntax != BIG_ENDIAN)
    assert data is not None
    if syntax != DEFLATED:
        return data
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def message(
    direction: Direction, primitive: Any, kind: str, *, context_id: int = 1, maximum: int = 16384
) -> list[Value]:
    """The values of a message, such as "C_STORE_RQ"."""
    encoder = getattr(dimse_messages, kind)()
    encoder.primitive_to_message(primitive)
    return [
        Value(direction, number, content[0], content[1:])
        for data in encoder.encode_msg(context_id, maximum)
        for number, content in data.presentation_data_value_list
    ]


def store_request(
    data: bytes, message_id: int = 1, instance: str = "1.2.3.6.1", direction: Direction = FORTH, **more: Any
) -> list[Value]:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, instance
    request.DataSet = io.BytesIO(data)
    return message(direction, request, "C_STORE_RQ", **more)


def store_response(
    message_id: int = 1,
    status: int = 0x0000,
    instance: str | None = "1.2.3.6.1",
    direction: Direction = BACK,
    **more: Any,
) -> list[Value]:
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = message_id, status
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = CT, instance
    return message(direction, response, "C_STORE_RSP", **more)


def store(data: bytes, message_id: int = 1, status: int = 0x0000, **more: Any) -> list[Value]:
    """A C-STORE and its response."""
    return store_request(data, message_id, **more) + store_response(message_id, status, **more)
