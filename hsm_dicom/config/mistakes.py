"""What each mistake in the file is called, and what to do about it: pydantic's error types, in words.

Pydantic would repeat the value that it refuses. A PIN may stand there, so none of these sentences does.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hsm_dicom.config.sections import ALLOWABLE, Configuration

Words = tuple[str, str]
"""What is wrong, and the remedy."""

_PIN_NAMES = ("pin", "password", "passphrase", "passwd", "secret")
_NO_PIN: Words = (
    "A PIN stands in the configuration, or what may be one (it is not repeated here).",
    "Write where the PIN is instead: prompt, env:NAME, file:PATH, fd:N or pinpad. "
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
    "weakness": ("What is to be allowed is not known.", f"It may be one of: {', '.join(ALLOWABLE)}."),
    "string_type": ("A text in quotation marks must stand here.", 'Write it like name = "text".'),
    "string_too_short": ("The text is empty.", "Write it, or remove the key."),
    "path_type": ("A path in quotation marks must stand here.", 'Write it like name = "/path".'),
    "int_type": ("A whole number must stand here.", "Write it without quotation marks."),
    "int_parsing": ("A whole number must stand here.", "Write it without quotation marks."),
    "int_parsing_size": ("The number is too large.", "Write a smaller one."),
    "int_from_float": ("A whole number must stand here.", "Write it without a point."),
    "finite_number": ("A number must stand here, not inf or nan.", "Write it without quotation marks."),
    "model_type": ("A table must stand here.", "Write it as [table] with key = value lines under it."),
    "dict_type": ("Tables with names must stand here.", "Write them like [tokens.NAME]."),
    "wire": (
        "wire is no table of texts, numbers, true and false.",
        'Write it like wire = { byte_order = "little" }; docs/iscl.md lists what there is.',
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


def in_words(error: ErrorDetails) -> Words:
    """One of pydantic's errors."""
    kind, place, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "missing":
        return f"The key '{place[-1]}' is missing.", "Write it."
    if kind == "key_uri":
        return str(context["reason"]), "See the form of a URI: hsm-dicom token list prints those of tokens."
    if kind == "card_profile":
        return str(context["reason"]), "Write it as tokens.smartcard.profile_table shows, or leave the table out."
    if kind == "literal_error":
        return "The value is none of those that there are.", f"Write one of: {context['expected']}."
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        bound = context.get("ge", context.get("le", context.get("gt")))
        return f"The number is too {'large' if 'le' in context else 'small'}.", f"The bound is {bound}."
    return _WORDS.get(kind, ("The value is not of the form that is wanted here.", "See the documentation of this key."))


def _unknown(place: tuple[int | str, ...]) -> Words:
    name = str(place[-1])
    if any(part in name.lower() for part in _PIN_NAMES):
        return _NO_PIN
    known = _known_at(place[:-1])
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Is '{near[0]}' meant? " if near else ""
    return f"The key '{name}' is not known here.", f"{guess}Known are: {', '.join(known)}."


def _known_at(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place, found by walking down the models."""
    model: Any = Configuration
    for part in place:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:
            model = get_args(model)[-1]  # dict[str, Section]: its names are free
    if not isinstance(model, type):
        model = get_args(model)[0]  # Section | None
    return sorted(model.model_fields)
