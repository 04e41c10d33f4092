"""A holder whose every decision the test makes, for what the relay does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.gateway.hold import Answer, Caller, HoldTimes
from hsm_dicom.gateway.holding.handover import FileHandover
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.network.dimse.commands import CommandSet
from tests.hsm_dicom.gateway.holding.conversation import Holding
from tests.hsm_dicom.gateway.routes import gateway, scripted_target
from tests.hsm_dicom.network.nodes import eventually

DATA = bytes(range(256)) * 100
UID = "1.2.3.4"

MARK = b"SIGNED"
"""What the holder puts behind each Data Set."""


@dataclass
class ScriptedHolder:
    """Puts a mark behind each Data Set, when the test lets it."""

    folder: Path
    times: HoldTimes = field(default_factory=lambda: HoldTimes(answer=5.0, far_idle=60.0))
    may_go_on: threading.Event = field(default_factory=threading.Event)
    decide: Callable[[bytes], Answer | None] = lambda data: None
    held: list[ScriptedObject] = field(default_factory=list)
    statuses: list[tuple[int, bool]] = field(default_factory=list)

    def make(self, caller: Caller) -> ScriptedHolder:
        return self

    def collect(self, context: AcceptedContext, command: CommandSet) -> ScriptedObject:
        self.held.append(ScriptedObject(self))
        return self.held[-1]


@dataclass
class ScriptedObject:
    holder: ScriptedHolder
    data: bytearray = field(default_factory=bytearray)
    is_treated: threading.Event = field(default_factory=threading.Event)
    is_discarded: bool = False

    def write(self, data: memoryview) -> None:
        self.data += data

    def treat(self) -> FileHandover | Answer:
        self.is_treated.set()
        assert self.holder.may_go_on.wait(20)
        answer = self.holder.decide(bytes(self.data))
        if answer is not None:
            return answer
        path = self.holder.folder / f"{id(self)}.held"
        path.write_bytes(self.data)
        end = len(self.data)
        note = lambda status, is_answered: self.holder.statuses.append((status, is_answered))  # noqa: E731
        return FileHandover(path, 0, [Edit(end, end, MARK)], self.discard, note)

    def discard(self) -> None:
        self.is_discarded = True


@contextmanager
def scripted_route(holder: ScriptedHolder, **wishes: Any) -> Iterator[Holding]:
    """A route whose objects go to the scripted holder, and the scripted target behind it. At its end, none is held."""
    with (
        scripted_target() as target,
        gateway(
            target.device,
            make_holder=holder.make,
            make_tap=lambda address, count: Inspector("to-pacs", address, count),
            **{"services": frozenset({Service.ANY})} | wishes,
        ) as running,
    ):
        yield Holding(running, target, holder.folder)
    assert eventually(lambda: all(one.is_discarded for one in holder.held))
