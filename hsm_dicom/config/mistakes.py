"""What each mistake in the file is called, and what to do about it: pydantic's error types, in words.

Pydantic would repeat the value that it refuses. A PIN may stand there, so none of these sentences does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hsm_dicom.config.sections import ALLOWABLE, Configuration
from tokens.errors import PinSourceError
from tokens.pins.credentials import DeviceFailure
from tokens.pins.sources import parse_pin_source
from tokens.smartcard.profile_table import NOT_HEXADECIMAL
from tokens.smartcard.profiles import CardProfile

Words = tuple[str, str]
"""What is wrong, and the remedy."""

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""The types of an unknown key's error, in models and in dataclasses."""

_PIN_NAMES = frozenset({"pin", "password", "passphrase", "passwd", "passcode", "secret"})
_NO_PIN: Words = (
    "A PIN stands in the configuration, or what may be one (it is not repeated here).",
    "Write where the PIN is instead: prompt, env:NAME, file:PATH, credential:NAME, fd:N or pinpad. "
    "If a PIN stood here, others may have read it: change it with hsm-dicom token change-pin.",
)

_WORDS: Mapping[str, Words] = {
    "pin_source": _NO_PIN,
    "unnamed": (
        "The token has neither a label nor a serial.",
        "Write label = or serial =; hsm-dicom token list shows both.",
    ),
    "no_key": (
        "The identity names no key.",
        'Write token = with object = (or id =), or key = "pkcs11:…".',
    ),
    "two_keys": (
        "The identity names its key twice.",
        "Keep either key = or the three keys token =, object =, id =.",
    ),
    "file_key": (
        "The private key is a file: whoever reads the file has the key for ever, and nobody sees it happen.",
        'Put the key on a token, or allow it by name: allow = ["file-key"].',
    ),
    "no_certificate": (
        "The key is a file, and no certificate is named.",
        'Write certificate = "PATH.pem".',
    ),
    "key_id": ("The id is not in hexadecimal.", 'Write it like id = "01ab"; hsm-dicom key list shows it.'),
    "login_failure": (
        "login_failures lists an answer that does not speak of a failed device.",
        f"It may list: {', '.join(failure.name for failure in DeviceFailure)}; or nothing.",
    ),
    "weakness": ("What is to be allowed is not known.", f"It may be one of: {', '.join(ALLOWABLE)}."),
    "string_type": ("A text in quotation marks must stand here.", 'Write it like name = "text".'),
    "string_too_short": ("The text is empty.", "Write it, or remove the key."),
    "null_character": ("The path has a null character (\\u0000), which no path can have.", "Remove it."),
    "string_pattern_mismatch": ("The text has a null character (\\u0000).", "Remove it."),
    "path_type": ("A path in quotation marks must stand here.", 'Write it like name = "/path".'),
    "int_type": ("A whole number must stand here.", "Write it without quotation marks."),
    "int_parsing": ("A whole number must stand here.", "Write it without quotation marks."),
    "int_parsing_size": ("The number is too large.", "Write a smaller one."),
    "int_from_float": ("A whole number must stand here.", "Write it without a point."),
    "finite_number": ("A number must stand here, not inf or nan.", "Write it without quotation marks."),
    "dataclass_type": ("A table must stand here.", "Write it as [table] with key = value lines under it."),
    "model_type": ("A table must stand here.", "Write it as [table] with key = value lines under it."),
    "dict_type": ("Tables with names must stand here.", "Write them like [tokens.NAME]."),
    "wire": (
        "wire is no table of texts, numbers, true and false.",
        'Write it like wire = { byte_order = "little" }; docs/explanation/iscl.md lists what there is.',
    ),
    "wire_number": (
        "A number of wire is nan, inf, or larger than anything there.",
        "Write the octets, or the seconds, that it needs.",
    ),
    "frozen_set_type": ("A list must stand here.", 'Write it like ["one", "two"].'),
    "tuple_type": ("A list must stand here.", 'Write it like ["one", "two"].'),
    "too_short": ("The list is empty.", 'Write at least one, like ["one"].'),
    "bool_type": ("true or false must stand here.", "Write it without quotation marks."),
    "bool_parsing": ("true or false must stand here.", "Write it without quotation marks."),
    "float_type": ("A number must stand here.", "Write it without quotation marks."),
    "float_parsing": ("A number must stand here.", "Write it without quotation marks."),
    "date_type": ("A date must stand here.", "Write it like 2030-12-31, without quotation marks."),
    "date_from_datetime_parsing": ("A date must stand here.", "Write it like 2030-12-31, without quotation marks."),
}


def drop_consequences(errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that say that a key is missing which was only misspelt."""
    listed = list(errors)
    meant = {(*error["loc"][:-1], _meant(error["loc"])) for error in listed if error["type"] in _UNKNOWN}
    return [error for error in listed if error["type"] != "missing" or error["loc"] not in meant]


def describe_mistake(error: ErrorDetails) -> Words:
    """One of pydantic's errors."""
    kind, place, context = error["type"], error["loc"], error.get("ctx", {})
    if kind in _UNKNOWN:
        return _unknown(place, error["input"])
    if error["input"] is NOT_HEXADECIMAL:
        return "The value is not in hexadecimal.", 'Write it in quotation marks, like "9c".'
    if kind == "missing":
        return f"The key '{place[-1]}' is missing.", "Write it."
    if kind == "key_uri":
        return str(context["reason"]), "See the form of a URI: hsm-dicom token list prints those of tokens."
    if kind in ("literal_error", "enum"):
        return "The value is none of those that there are.", f"Write one of: {context['expected']}."
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        bound = context.get("ge", context.get("le", context.get("gt")))
        return f"The number is too {'large' if 'le' in context else 'small'}.", f"The bound is {bound}."
    return _WORDS.get(kind, ("The value is not of the form that is wanted here.", "See the documentation of this key."))


def _unknown(place: tuple[int | str, ...], value: object) -> Words:
    name = str(place[-1])
    near = _meant(place)
    if _may_hold_a_pin(name, near, value):
        return _NO_PIN
    guess = f"Is '{near}' meant? " if near else ""
    return f"The key '{name}' is not known here.", f"{guess}Known are: {', '.join(_known_at(place[:-1]))}."


def _meant(place: tuple[int | str, ...]) -> str | None:
    """The known key that is nearest to an unknown one."""
    return next(iter(difflib.get_close_matches(str(place[-1]), _known_at(place[:-1]), n=1)), None)


def _may_hold_a_pin(name: str, near: str | None, value: object) -> bool:
    """Whether a PIN is to be feared under a name that is unknown: one of a PIN, or a misspelt one with no source."""
    lower = name.lower()
    if _PIN_NAMES & set(re.split(r"[^a-z]+", lower)):
        return True
    # `pinss` of a peer is near its `pins`, which holds none.
    misspelt = any(part in lower and part not in (near or "") for part in _PIN_NAMES)
    return (near == "pin" or misspelt) and not _is_pin_source(value)


def _is_pin_source(value: object) -> bool:
    try:
        parse_pin_source(value if isinstance(value, str) else "")
    except PinSourceError:
        return False
    return True


def _known_at(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place, found by walking down the models."""
    model: Any = Configuration
    for part in place:
        if is_dataclass(model):
            model = get_type_hints(model)[str(part)]
        elif isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:
            # dict[str, Section], tuple[CardKey, ...]: names and numbers are free
            model = [each for each in get_args(model) if each is not Ellipsis][-1]
        if get_origin(model) in (Annotated, Union, UnionType):
            model = get_args(model)[0]  # Section | None
    if is_dataclass(model):
        # A card profile's name is that of its table.
        return sorted(field.name for field in fields(model) if model is not CardProfile or field.name != "name")
    return sorted(model.model_fields)
