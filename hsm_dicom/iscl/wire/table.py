"""A `WireProfile` from a table of the configuration, such as

    [peers.archive.iscl.wire]
    byte_order        = "little"
    iv_chain          = "direction"
    handshake_timeout = 10

Keys are the fields of `WireProfile`; a choice is named by its member in lower case, with hyphens. Only a
program can set the layouts of the data areas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hsm_dicom.iscl.errors import ISCLSettingsError
from hsm_dicom.iscl.wire.messages import LineCheckRequest
from hsm_dicom.iscl.wire.profile import Octets, WireProfile

_FOR_PROGRAMS = frozenset({"layouts"})


def wire_profile(table: Mapping[str, object]) -> WireProfile:
    """Make the profile that differs from the default in what the table sets. Raises `ISCLSettingsError`."""
    kinds = get_type_hints(WireProfile)
    known = [field.name for field in fields(WireProfile) if field.name not in _FOR_PROGRAMS]
    wishes: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}."
            raise ISCLSettingsError(f"The key '{name}' is not known in wire. {hint}")
        wishes[name] = _read(name, value, kinds[name])
    profile = WireProfile(**wishes)
    length = next(item.length for item in profile.items[LineCheckRequest] if isinstance(item, Octets))
    if len(profile.version) != length:
        raise ISCLSettingsError(f"version of wire must have {length} octets, not {len(profile.version)}.")
    return profile


def _read(name: str, value: object, kind: Any) -> object:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        choices: dict[object, object] = {member.name.lower().replace("_", "-"): member for member in kind}
    elif get_origin(kind) is Literal:
        choices = {choice: choice for choice in get_args(kind)}
    elif kind is bool:
        choices = {True: True, False: False}
    else:
        return _read_free(name, value, kind)
    # True is 1 for Python, and is not for a person.
    found = [chosen for word, chosen in choices.items() if word == value and type(word) is type(value)]
    if not found:
        words = ", ".join(str(word).lower() if isinstance(word, bool) else str(word) for word in choices)
        raise ISCLSettingsError(f"{name} of wire must be one of: {words}.")
    return found[0]


def _read_free(name: str, value: object, kind: Any) -> object:
    """Read a text of octets, or a number that is not negative."""
    if kind is bytes:
        if isinstance(value, str) and value.isascii():
            return value.encode("ascii")
        raise ISCLSettingsError(f"{name} of wire must be a text of ASCII characters.")
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise ISCLSettingsError(f"{name} of wire must be a number, not below 0.")
