"""A sentence and a remedy for each mistake in the file, by pydantic's error types.

Pydantic's own sentences repeat the refused value, which may be a PIN. These do not.
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

from hsm_dicom.config.base import list_fields
from hsm_dicom.config.sections import ALLOWABLE, Configuration
from tokens.errors import PinSourceError
from tokens.pins.credentials import DeviceFailure
from tokens.pins.sources import parse_pin_source
from tokens.smartcard.profile_table import NOT_HEXADECIMAL
from tokens.smartcard.profiles import CardProfile

Words = tuple[str, str]
"""A sentence, and the remedy."""

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""The error types for an unknown key, in models and in dataclasses."""

_PIN_NAMES = frozenset({"pin", "password", "passphrase", "passwd", "passcode", "secret"})
_NO_PIN: Words = (
    "The configuration contains a PIN, or a value that may be one (it is not repeated here).",
    "Write the source of the PIN instead: prompt, env:NAME, file:PATH, credential:NAME, fd:N or pinpad. "
    "If it was a PIN, others may have read it: change it with hsm-dicom token change-pin.",
)

_WORDS: Mapping[str, Words] = {
    "pin_source": _NO_PIN,
    "group_readable": (
        "group_readable is for a PIN in a file.",
        'Write pin = "file:PATH" or pin = "credential:NAME", or remove group_readable.',
    ),
    "unnamed": (
        "The token has neither a label nor a serial.",
        "Write label = or serial =; hsm-dicom token list shows both.",
    ),
    "no_key": (
        "The identity names no key.",
        'Write token = (or tokens =) with object = (or id =), or key = "pkcs11:…".',
    ),
    "two_keys": (
        "The identity names its key twice.",
        "Keep either key = or the keys token = (or tokens =), object =, id =.",
    ),
    "token_and_tokens": (
        "The identity has both token and tokens.",
        "Keep token = for one token, or tokens = for a key of which several tokens hold a copy.",
    ),
    "one_token": ("tokens lists only one token.", 'Write token = "NAME", or list at least two.'),
    "token_twice": ("tokens lists a token twice.", "List each token once."),
    "file_key": (
        "The private key is in a file: anyone who reads the file can copy the key without a trace.",
        'Put the key on a token, or allow it explicitly: allow = ["file-key"].',
    ),
    "no_certificate": (
        "The key is in a file, and no certificate is named.",
        'Write certificate = "PATH.pem".',
    ),
    "key_id": ("The id is not in hexadecimal.", 'Write it like id = "01ab"; hsm-dicom key list shows it.'),
    "login_failure": (
        "login_failures lists a return value that does not mean a failed device.",
        f"Write any of: {', '.join(failure.name for failure in DeviceFailure)}; or an empty list.",
    ),
    "user_type": (
        "user_type is no user type of PKCS#11 for such a login.",
        "Write 1, or the number from the manual of the token, such as 0x80000001; or leave it out.",
    ),
    "key_attributes": (
        "The table has an attribute that is unknown, that hsm-dicom sets itself, or a value that no attribute has.",
        'Write names of PKCS#11 or numbers, as in { CKA_MODIFIABLE = false, 0x80000001 = "0x01ff" }.',
    ),
    "weakness": ("allow lists an unknown weakness.", f"Write any of: {', '.join(ALLOWABLE)}."),
    "string_type": ("The value must be a text in quotation marks.", 'Write it like name = "text".'),
    "string_too_short": ("The text is empty.", "Write a text, or remove the key."),
    "sizes": (
        "advised_rsa_bits is below minimum_rsa_bits.",
        "Raise it, or leave it out.",
    ),
    "certificate_pin": (
        "The pin is not a SHA-256 value.",
        "Write 64 hexadecimal digits: of a certificate, openssl x509 -noout -fingerprint -sha256 -in FILE prints them.",
    ),
    "rfc4514": (
        "The value is not a name in the form of RFC 4514.",
        'Write it like "CN=Hospital CA,O=Hospital"; openssl x509 -noout -subject -nameopt RFC2253 -in FILE prints it.',
    ),
    "sop_class": (
        "The value is not a SOP Class.",
        "Write a UID, or a keyword of PS3.6 such as CTImageStorage.",
    ),
    "otherwise": (
        "otherwise is for objects that no rule matches, and the policy has no rules.",
        "Write [[policies.NAME.rules]], or remove otherwise.",
    ),
    "null_character": ("The path has a null character (\\u0000), which is not possible.", "Remove it."),
    "string_pattern_mismatch": ("The text has a null character (\\u0000).", "Remove it."),
    "path_type": ("The value must be a path in quotation marks.", 'Write it like name = "/path".'),
    "int_type": ("The value must be a whole number.", "Write it in digits, without quotation marks."),
    "int_parsing": ("The value must be a whole number.", "Write it without quotation marks."),
    "int_parsing_size": ("The number is too large.", "Write a smaller one."),
    "int_from_float": ("The value must be a whole number.", "Write it without a point."),
    "finite_number": ("The value must be a number, not inf or nan.", "Write it without quotation marks."),
    "dataclass_type": ("The value must be a table.", "Write it as [table] with key = value lines under it."),
    "model_type": ("The value must be a table.", "Write it as [table] with key = value lines under it."),
    "dict_type": ("The value must be a table with named tables.", "Write them like [tokens.NAME]."),
    "listen_address": (
        "The value is not an IP address with a port.",
        'Write it like listen = "192.168.10.1:104", or listen = "[2001:db8::1]:104" for IPv6.',
    ),
    "status_address": (
        "The status page needs one address.",
        'Write listen = "127.0.0.1:9762", or socket = "PATH".',
    ),
    "alarm_kind": (
        "The alarm needs one way to report.",
        'Write command = ["/PATH/OF/PROGRAM"], or syslog = "daemon".',
    ),
    "wire": (
        "wire is not a table of texts, numbers, true and false.",
        'Write it like wire = { byte_order = "little" }; docs/explanation/iscl.md lists its keys.',
    ),
    "wire_number": (
        "A number of wire is nan, inf, or larger than any of its bounds.",
        "Write the number of octets or seconds.",
    ),
    "frozen_set_type": ("The value must be a list.", 'Write it like ["one", "two"].'),
    "tuple_type": ("The value must be a list.", 'Write it like ["one", "two"].'),
    "too_short": ("The list is empty.", 'Write at least one, like ["one"].'),
    "bool_type": ("The value must be true or false.", "Write one of these words, without quotation marks."),
    "bool_parsing": ("The value must be true or false.", "Write one of these words, without quotation marks."),
    "float_type": ("The value must be a number.", "Write it without quotation marks."),
    "float_parsing": ("The value must be a number.", "Write it without quotation marks."),
    "date_type": ("The value must be a date.", "Write it like 2030-12-31, without quotation marks."),
    "date_from_datetime_parsing": ("The value must be a date.", "Write it like 2030-12-31, without quotation marks."),
}


def drop_consequences(errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those for a missing key that is only misspelt, and for a list of wrong entries only."""
    listed = list(errors)
    lists = {error["loc"][:-1] for error in listed}
    meant = {
        (*error["loc"][:-1], _find_nearest_key(error["loc"], Configuration))
        for error in listed
        if error["type"] in _UNKNOWN
    }
    return [
        error
        for error in listed
        if not (error["type"] == "missing" and error["loc"] in meant)
        and not (error["type"] == "too_short" and error["loc"] in lists)
    ]


def describe_mistake(error: ErrorDetails, model: type[BaseModel] = Configuration) -> Words:
    """Return the sentence and the remedy for one of pydantic's errors about a file that `model` reads."""
    kind, place, context = error["type"], error["loc"], error.get("ctx", {})
    if kind in _UNKNOWN:
        return _unknown(place, error["input"], model)
    if error["input"] is NOT_HEXADECIMAL:
        return "The value is not in hexadecimal.", 'Write it in quotation marks, like "9c".'
    if kind == "missing":
        return f"The key '{place[-1]}' is missing.", f"Write {place[-1]} = …."
    if kind == "entrance":
        given = context["given"]
        what = f"The route has {given}." if given else "Nothing says where callers reach the route."
        return what, 'Write one of: listen = "ADDRESS:PORT", socket = "NAME", listener = "NAME".'
    if kind == "key_uri":
        return str(context["reason"]), "See the form of a URI: hsm-dicom token list prints those of tokens."
    if kind == "without_tokens":
        name = context["key"]
        return f"{name} is for a key on several tokens.", f"Name the tokens with tokens =, or remove {name}."
    if kind == "tls_switch":
        return "The value must be true, false or auto.", 'Write next_in_tls = true, or next_in_tls = "auto".'
    if kind == "without_next":
        name = context["key"]
        return f"{name} is for an identity with a successor.", f'Write next = "NAME", or remove {name}.'
    if kind in ("choice", "oid"):
        form = "" if kind == "choice" else ", or a dotted identifier"
        return "The value is not allowed.", f"Write one of: {context['known']}{form}."
    if kind == "string_too_long":
        return "The text is too long.", f"Write at most {context['max_length']} characters."
    if kind in ("literal_error", "enum"):
        return "The value is not allowed.", f"Write one of: {context['expected']}."
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        bound = context.get("ge", context.get("le", context.get("gt")))
        if "le" in context:
            return "The number is too large.", f"Write at most {bound}."
        return "The number is too small.", f"Write {'more than' if 'gt' in context else 'at least'} {bound}."
    if kind == "value_error":  # of a class of `tokens`, whose sentence says what is wanted
        return str(context["error"]), "Correct the value."
    return _WORDS.get(kind, ("The value has the wrong form.", "See the documentation of this key."))


def _unknown(place: tuple[int | str, ...], value: object, model: type[BaseModel]) -> Words:
    name = str(place[-1])
    near = _find_nearest_key(place, model)
    if _may_contain_pin(name, near, value):
        return _NO_PIN
    guess = f"Did you mean '{near}'? " if near else ""
    return f"The key '{name}' is unknown here.", f"{guess}Known keys: {', '.join(_list_known_keys(place[:-1], model))}."


def _find_nearest_key(place: tuple[int | str, ...], model: type[BaseModel]) -> str | None:
    """Return the known key that is nearest to an unknown one."""
    return next(iter(difflib.get_close_matches(str(place[-1]), _list_known_keys(place[:-1], model), n=1)), None)


def _may_contain_pin(name: str, near: str | None, value: object) -> bool:
    """Return whether an unknown key may contain a PIN: its name is one of a PIN, or a misspelt one without a source."""
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


def _list_known_keys(place: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """Return the keys of the table at a place, from the models."""
    model: Any = root
    for part in place:
        if is_dataclass(model):
            model = get_type_hints(model)[str(part)]
        elif isinstance(model, type) and issubclass(model, BaseModel):
            model = next(field.annotation for key, field in list_fields(model) if key == part)
        else:
            # dict[str, Section], tuple[CardKey, ...]: names and numbers are free
            model = [each for each in get_args(model) if each is not Ellipsis][-1]
        if get_origin(model) in (Annotated, Union, UnionType):
            model = get_args(model)[0]  # Section | None
    if is_dataclass(model):
        # A card profile's name is that of its table.
        return sorted(field.name for field in fields(model) if model is not CardProfile or field.name != "name")
    return sorted(key for key, _ in list_fields(model))
