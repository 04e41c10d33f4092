"""The status of a gateway as JSON (docs/reference/json.md), and such a document as a status again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.status import GatewayStatus

SCHEMA = "hsm-dicom/gateway-status/1"

_PREDICATE = "is_"
"""What names of predicates begin with in Python, and not in JSON."""

_PREDICATES = {"ready", "draining", "urgent", "synchronised"}


class StatusDocumentError(DicomError):
    """A document is not the status of a gateway, or that of another version of hsm-dicom."""


def status_document(status: GatewayStatus) -> dict[str, Any]:
    """Return the document of a status, with its schema. Times are UTC, to the second; a text that is unset is empty."""
    return {"schema": SCHEMA, **_plain(status)}


def parse_status(text: str | bytes) -> GatewayStatus:
    """Return the status that a document holds; members that are unknown are ignored. Raises `StatusDocumentError`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StatusDocumentError("The answer is not JSON, so no gateway of hsm-dicom gave it.") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise StatusDocumentError(
            f"The answer has the schema {schema!r} instead of {SCHEMA!r}. Use the hsm-dicom of the gateway's version."
        )
    try:
        return _adapter().validate_python(_named_as_in_python(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        member = ".".join(map(str, first["loc"]))
        raise StatusDocumentError(f"The answer is no status of a gateway: {member}: {first['msg']}.") from error


@cache
def _adapter() -> TypeAdapter[GatewayStatus]:
    return TypeAdapter(GatewayStatus)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        members = (field.name for field in dataclasses.fields(value))
        return {name.removeprefix(_PREDICATE): _plain(getattr(value, name)) for name in members}
    if isinstance(value, Mapping):
        return {encodable(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return encodable(value) if isinstance(value, str) else value


def encodable(text: str) -> str:
    """Return a text without lone surrogates, which a file's name can hold and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def _named_as_in_python(document: dict[str, Any]) -> dict[str, Any]:
    """Return the members by the names of the data classes; what is malformed is left for the validation."""
    conditions = document.get("conditions")
    if isinstance(conditions, list):
        conditions = [_with_predicates(one) if isinstance(one, dict) else one for one in conditions]
        document = {**document, "conditions": conditions}
    if isinstance(document.get("clock"), dict):
        document = {**document, "clock": _with_predicates(document["clock"])}
    return _with_predicates(document)


def _with_predicates(members: dict[str, Any]) -> dict[str, Any]:
    return {f"{_PREDICATE}{name}" if name in _PREDICATES else name: value for name, value in members.items()}
