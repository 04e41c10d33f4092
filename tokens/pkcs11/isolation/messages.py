"""Requests to the process of a module, and its answers.

A request is the name of a method, its arguments and its keyword arguments. The methods that can be requested are those
of `Cryptoki`, `Operations` and `Queries` that are marked as device calls, and the few in `SERVICES`. What a method
returns is compared with its annotation, so that a module which takes over its process can lie about a value, and about
nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pkcs11 import exceptions as p11

from tokens.deadlines import CallDeadlines
from tokens.errors import ModuleError, OperationFailedError, TokenError
from tokens.pkcs11.calls.call_threads import is_device_call
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.operations import Operations
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.calls.return_values import error_of, value_of
from tokens.pkcs11.isolation.channel import LONGEST
from tokens.pkcs11.isolation.encoding import MalformedError, decode, encode
from tokens.printable import printable

LOAD, USE_DEADLINES = "load", "use_deadlines"
"""Load the module's file; use deadlines for a slot, or for calls that are for none."""

SERVICES = (LOAD, USE_DEADLINES)
"""What the process does besides the calls. It returns None."""

_RESULT, _RETURN_VALUE, _FAILURE, _EXPIRED, _BUSY = "result", "rv", "failure", "expired", "busy"
_LONGEST_TEXT = 2000
_KINDS = frozenset(field.name for field in dataclasses.fields(CallDeadlines))


@dataclass(frozen=True)
class Expired:
    """A call of a C function has taken longer than it may."""

    function: str
    seconds: float
    kind: str
    """The field of `CallDeadlines` from which the seconds are."""


@dataclass(frozen=True)
class Returned:
    """What a method returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What a method raised."""

    error: Exception


class Busy:
    """A call has not returned, and its process works."""


@functools.cache
def device_calls() -> Mapping[str, Callable[..., Any]]:
    """Return the methods that can be requested, by their qualified names."""
    return {
        method.__qualname__: method
        for kind in (Cryptoki, Operations, Queries)
        for method in vars(kind).values()
        if is_device_call(method)
    }


def encode_request(method: str, arguments: Sequence[object], options: Mapping[str, object]) -> bytearray:
    """Encode a request. Raises TypeError or ValueError for an argument that cannot be sent, and `OperationFailedError`
    for data that is too long.
    """
    content = bytearray()
    encode([method, arguments, options], content)
    return _require_short(content)


def decode_request(content: bytearray) -> tuple[str, list[Any], dict[str, Any]]:
    """Return method, arguments and keyword arguments, and wipe the content. Raises `MalformedError`."""
    match _decode_and_wipe(content):
        case [str() as method, list() as arguments, dict() as options]:
            return method, arguments, options
    raise MalformedError("not a request")


def encode_result(result: object) -> bytearray:
    """Encode what a method returned."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = dataclasses.astuple(result)
    return _encode_answer(_RESULT, result)


def encode_error(error: Exception) -> bytearray:
    """Encode what a method raised."""
    value = value_of(error) if isinstance(error, p11.PKCS11Error) else None
    if value is not None:
        return _encode_answer(_RETURN_VALUE, value)
    text = error.message if isinstance(error, TokenError) else f"{type(error).__name__}: {error}"
    return _encode_answer(_FAILURE, type(error).__name__, text[:_LONGEST_TEXT])


def encode_expiry(function: str, seconds: float, kind: str) -> bytearray:
    """Encode that a call has taken longer than it may."""
    return _encode_answer(_EXPIRED, function, seconds, kind)


def encode_busy() -> bytearray:
    """Encode that a call has not returned yet."""
    return _encode_answer(_BUSY)


def decode_answer(method: str, content: bytearray) -> Returned | Raised | Expired | Busy:
    """Return the answer to a request for a method, and wipe the content. Raises `MalformedError`."""
    match _decode_and_wipe(content):
        case ["result", value]:
            return Returned(_converter_of(method)(value))
        case ["rv", int() as value] if value:
            return Raised(error_of(value))
        case ["failure", str() as name, str() as text] if len(text) <= _LONGEST_TEXT:
            return Raised(_error_of(name, printable(text)))
        case ["expired", str() as function, float() as seconds, str() as kind] if (
            re.fullmatch(r"C_[A-Za-z]{1,30}", function) and kind in _KINDS
        ):
            return Expired(function, seconds, kind)
        case ["busy"]:
            return Busy()
    raise MalformedError("not an answer")


def _encode_answer(*parts: object) -> bytearray:
    answer = bytearray()
    encode(parts, answer)
    return _require_short(answer)


def _require_short(content: bytearray) -> bytearray:
    if len(content) > LONGEST:
        raise OperationFailedError(f"{len(content)} bytes are too many for one call to the process of a module.")
    return content


def _decode_and_wipe(content: bytearray) -> object:
    try:
        return decode(content)
    finally:
        content[:] = bytes(len(content))


def _error_of(name: str, text: str) -> Exception:
    if name == ModuleError.__name__:
        return ModuleError(text)
    return OperationFailedError(f"The process of the PKCS#11 module failed: {text.rstrip('.')}.")


# -- what a method returns ------------------------------------------------------------------------------------


@functools.cache
def _converter_of(method: str) -> Callable[[object], Any]:
    if method in SERVICES:
        return _make_converter(type(None))
    return _make_converter(get_type_hints(device_calls()[method])["return"])


def _make_converter(annotation: Any) -> Callable[[object], Any]:
    """Return a function that checks a decoded value against an annotation, and gives it the annotated type."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        hints = get_type_hints(annotation)
        fields = [_make_converter(hints[field.name]) for field in dataclasses.fields(annotation)]
        return lambda value: annotation(*_each(fields, value))
    items = get_args(annotation)
    match get_origin(annotation):
        case kind if kind is tuple:
            parts = [_make_converter(item) for item in items]
            return lambda value: tuple(_each(parts, value))
        case kind if kind is list:
            convert = _make_converter(items[0])
            return lambda value: [convert(item) for item in _require(list, value)]
        case kind if kind is dict:
            key, content = (_make_converter(item) for item in items)
            return lambda value: {key(name): content(item) for name, item in _require(dict, value).items()}
    return lambda value: _require(annotation, value)


def _each(converters: list[Callable[[object], Any]], value: object) -> list[Any]:
    values = _require(list, value)
    if len(values) != len(converters):
        raise MalformedError("a wrong number of values")
    return [convert(item) for convert, item in zip(converters, values, strict=True)]


def _require(kind: type, value: object) -> Any:
    if type(value) is not kind:
        raise MalformedError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
