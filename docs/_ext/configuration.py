"""Reference of the configuration file, from the models that read it. Each field is documented under it there."""

from __future__ import annotations

import datetime
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from markdown import field_texts, write_table
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hsm_dicom.config.addresses import ListenAddress
from hsm_dicom.config.base import list_fields
from hsm_dicom.config.gateway_sections import AlarmSection, GatewaySection, PlainSection, RouteSection, StatusSection
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.network_sections import LegacySection, ListenerSection, PeerSection, TrustSection
from hsm_dicom.config.policy_sections import ConditionsSection, DemandsSection, PolicySection, RuleSection
from hsm_dicom.config.sections import DeadlinesSection, EventsSection, IdentitySection, StateSection, TokenSection
from tokens.card_uri import CardUri
from tokens.pins.sources import PinSource
from tokens.smartcard.profiles import CardKey, CardProfile, PinProfile, SecretsProfile
from tokens.uri import Pkcs11Uri

TABLES: dict[str, type] = {
    "[tokens.NAME]": TokenSection,
    "[tokens.NAME.deadlines]": DeadlinesSection,
    "[identities.NAME]": IdentitySection,
    "[trust]": TrustSection,
    "[policies.NAME]": PolicySection,
    "[[policies.NAME.rules]]": RuleSection,
    "when of a rule": ConditionsSection,
    "[peers.NAME]": PeerSection,
    "[listeners.NAME]": ListenerSection,
    "legacy": LegacySection,
    "[plain.NAME]": PlainSection,
    "[routes.NAME]": RouteSection,
    "[gateway]": GatewaySection,
    "[status]": StatusSection,
    "[alarms.NAME]": AlarmSection,
    "[iscl]": ISCLSection,
    "[cards.NAME]": CardProfile,
    "[[cards.NAME.keys]]": CardKey,
    "[cards.NAME.secrets]": SecretsProfile,
    "pin of a card": PinProfile,
    "[state]": StateSection,
    "[events]": EventsSection,
}
"""The tables in the order of the page."""
_FEW = 3
"""Values of a set that are shown as its default; of more, the text about the key says what they are."""
_NUMBERS = {"reference", "padding", "certificate", "algorithm", "serial_file"}
"""Integers of card profiles that are written as hexadecimal text."""


def write_tables() -> str:
    """Return a section for each table, with its fields, their types and defaults."""
    return "\n".join(_write(title, kind) for title, kind in TABLES.items())


def _write(title: str, kind: type) -> str:
    about = inspect.getdoc(kind) or ""
    first, _, rest = about.partition(": ")
    summary = rest[:1].upper() + rest[1:] if first.startswith(("`[", "`legacy", "`when")) else about
    heading = f"## `{title}`" if title.startswith("[") else f"## {title}"
    return f"{heading}\n\n{summary}\n\n{write_table(['key', 'type', 'default', 'meaning'], _rows(kind))}"


def _rows(table: type) -> Iterator[list[str]]:
    texts = field_texts(table)
    if issubclass(table, BaseModel):
        texts |= {field.alias: texts[name] for name, field in table.model_fields.items() if field.alias}
    for name, annotation, default in _fields(table):
        kind = _type(annotation, name)
        yield [f"`{name}`", kind, _default(default, kind), texts.get(name, "")]


def _fields(kind: type) -> Iterator[tuple[str, Any, Any]]:
    if issubclass(kind, BaseModel):
        shared = DemandsSection.model_fields.keys() if kind is RuleSection else ()
        for name, field in list_fields(kind):
            if name in shared:  # explained once, in the table of policies
                continue
            default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
            annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            yield name, annotation, default
    elif is_dataclass(kind):
        hints = inspect.get_annotations(kind, eval_str=True)
        for one in fields(kind):
            if not (kind is CardProfile and one.name == "name"):
                yield one.name, hints[one.name], PydanticUndefined if one.default is MISSING else one.default


def _default(value: Any, kind: str) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), frozenset(), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, frozenset):
        few = len(value) <= _FEW and all(isinstance(one, str) for one in value)
        return f"`{_toml(tuple(sorted(value)))}`" if few else "all" if kind.startswith("list of `") else ""
    if kind == "hexadecimal":
        return f'`"{value:02x}"`'
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return f'"{value.value}"'
        case str():
            return f'"{value}"'
        case float():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return str(value)


def _type(annotation: Any, name: str) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], name) + _bounds(arguments[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(one, name) for one in arguments if one is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{_toml(one)}`" for one in arguments)
    if origin in (tuple, frozenset):
        return f"list of {_type(arguments[0], name)}"
    if origin in (dict, Mapping) or str(origin) == "collections.abc.Mapping":
        return "table"
    return _plain(annotation, name)


def _plain(kind: Any, name: str) -> str:
    names = {
        bool: "true or false",
        float: "number",
        str: "text",
        bytes: "hexadecimal",
        Path: "path",
        ListenAddress: "`ADDRESS:PORT`",
        datetime.date: "date",
        Pkcs11Uri: "`pkcs11:` URI",
        CardUri: "`card:` URI",
    }
    if kind is int:
        return "hexadecimal" if name in _NUMBERS else "number"
    if kind is PinSource:
        return "PIN source"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.name if isinstance(one.value, int) else _toml(one)}`" for one in kind)
    return names.get(kind, "table")


def _bounds(given: tuple[Any, ...]) -> str:
    metadata = [one for each in given for one in (each.metadata if isinstance(each, FieldInfo) else [each])]
    low = next((str(one.ge) for one in metadata if isinstance(one, Ge)), None)
    high = next((str(one.le) for one in metadata if isinstance(one, Le)), None)
    above = next((f", more than {one.gt}" for one in metadata if isinstance(one, Gt)), "")
    below = next((f", less than {one.lt}" for one in metadata if isinstance(one, Lt)), "")
    filled = next((f", at least {one.min_length}" for one in metadata if isinstance(one, MinLen)), "")
    if low is not None and high is not None:
        return f" {low} to {high}"
    return (f" from {low}" if low else f" up to {high}" if high else "") + above + below + filled
