"""Events of the gateway's routes. None holds data of a patient; UIDs name studies and instances."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from hsm_dicom.transport.events import NetworkEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteEvent(NetworkEvent):
    """Base of these events: `name` is that of the route, `address` that of the caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayOpened(RouteEvent):
    """The target accepted an association, which is relayed from now on.

    `source` and `target` are names of the configuration. `refused_contexts` are the abstract syntaxes of the
    presentation contexts that the target accepted and the route does not admit. `reason` is why the plain side has no
    transport security.
    """

    source: str
    target: str
    calling_ae_title: str
    called_ae_title: str
    subject: str
    profile: str
    refused_contexts: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayEnded(RouteEvent):
    """A relayed association ended. `outcome` is "released", "aborted" or "lost"."""

    source: str
    target: str
    outcome: str
    octets_forth: int
    octets_back: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayRefused(RouteEvent):
    """An association was not relayed. The codes are those of PS3.8, 9.3.4; `kind` is one word of a fixed set.

    `kind` is "calling", "called", "address", "version", "limit", "target-down", "target-refused", "draining", or
    "caller-left" if the caller ended it before the target answered.
    """

    level: ClassVar[int] = logging.WARNING
    kind: str
    calling_ae_title: str
    called_ae_title: str
    subject: str
    result: int
    source: int
    reason: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRelayed(RouteEvent):
    """The receiver of a C-STORE answered. `direction` is that of the request: "forth" (from the caller) or "back".

    `status` is that of PS3.4, Table B.2-1, and `size` the bytes of the Data Set. A UID that is missing, or that is not
    one, is an empty string. `text` holds no UID.
    """

    direction: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    status: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRelayed(RouteEvent):
    """A request other than C-STORE was answered for the last time. `command` is its name, such as "C-FIND".

    `responses` is the number of pending responses (PS3.7, C.1) before the last one. A C-CANCEL is not answered: its
    event is emitted when it passes, and its `status` is null.
    """

    direction: str
    command: str
    sop_class_uid: str
    status: int | None
    responses: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectEvent(RouteEvent):
    """Base of events about an object that a route judged or signed; see docs/reference/events.md."""

    outcome: str
    sop_class_uid: str
    sop_instance_uid: str
    size: int
    status: int | None
    seconds: float
    signature_uid: str = ""
    left_out: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectHeld(ObjectEvent):
    """A route has judged or signed an object, as its configuration asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRefused(ObjectEvent):
    """A route has refused an object, or relays one in spite of a problem: a person should look at it."""

    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteChanged(RouteEvent):
    """A route went down because its target could not be reached, or is used again."""

    level: ClassVar[int] = logging.WARNING
    is_up: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EmergencySettingChanged(RouteEvent):
    """An emergency setting of a route was made, is active when the gateway starts, was ended, or has lapsed.

    `change` is "begun", "active", "ended" or "lapsed". `setting` is what replaces the configuration, such as
    "objects = pass". `until` is its last day, in UTC (ISO 8601).
    """

    level: ClassVar[int] = logging.WARNING
    change: str
    setting: str
    reason: str
    operator: str
    until: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockChanged(NetworkEvent):
    """The system clock was set by more than 5 seconds, is behind a time that it has shown before, or is right again.

    `change` is "stepped", "behind" or "right"; `seconds` is by how much, negative for back.
    """

    level: ClassVar[int] = logging.WARNING
    change: str
    seconds: float
