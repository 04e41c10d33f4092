"""Reference of the events, from their classes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator

from tokens.events import Event, event_name

MODULES = (
    "tokens.events",
    "hsm_dicom.events",
    "hsm_dicom.transport.events",
    "hsm_dicom.gateway.events",
    "hsm_dicom.iscl.hooks",
)
"""Where events are defined."""

BASES = {
    "DeviceEvent": ("those of a device", "#what-every-event-of-a-device-has"),
    "NetworkEvent": ("those of a connection", "#what-every-event-of-a-connection-has"),
    "RouteEvent": ("those of a route", "#what-every-event-of-a-route-has"),
    "ObjectEvent": ("those of a held object", "#what-every-event-of-a-held-object-has"),
}
"""What events of one base have in common, with the heading of the page that explains it."""


def write_events() -> str:
    """Return a section for each event: when it is emitted, and its members."""
    return "\n".join(_write(kind) for kind in sorted(event_classes(), key=name_of))


def event_classes() -> list[type[Event]]:
    """Return every class of an event that is emitted: those of the tree that have no subclass."""
    for module in MODULES:
        importlib.import_module(module)
    return [kind for kind in _descendants(Event) if not kind.__subclasses__()]


def name_of(kind: type[Event]) -> str:
    """Return the name of a kind of event in files: key-use for `KeyUse`."""
    return event_name(kind.__new__(kind))


def _descendants(kind: type[Event]) -> Iterator[type[Event]]:
    for one in kind.__subclasses__():
        # A dataclass with slots leaves the class behind that it was made of; that one has no slots of its own.
        if one.__module__.startswith(("tokens.", "hsm_dicom.")) and "__slots__" in vars(one):
            yield one
            yield from _descendants(one)


def _write(kind: type[Event]) -> str:
    base = kind.__mro__[1]
    inherited = {one.name for one in dataclasses.fields(base)}
    common = BASES.get(base.__name__)
    own = [f"`{one.name}` ({one.type})" for one in dataclasses.fields(kind) if one.name not in inherited]
    members = ", ".join([*([f"[{common[0]}]({common[1]})"] if common else []), *own])
    about = inspect.getdoc(kind) or ""
    return f"## {name_of(kind)}\n\n{about}\n\nMembers: {members}. In Python: `{kind.__module__}.{kind.__name__}`.\n"
