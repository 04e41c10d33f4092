"""Read a card profile from a table, such as one from TOML or JSON.

References, identifiers and AIDs are hexadecimal text, as in the manuals of cards:

    {
        "family": "iso7816",
        "aid": "f048534d0001",
        "serial_file": "02",
        "keys": [{"name": "sign", "reference": "21", "certificate": "c001", "pin": {"reference": "01"}}],
        "secrets": {
            "authentication": {"1": "81", "2": "82"},
            "encryption": {"1": "91"},
            "pin": {"reference": "01", "minimum": 6},
        },
    }

>>> read_profile("hospital", {"family": "piv", "aid": "a000000308", "keys": [{"name": "9c", "reference": "9c"}]}).keys
(CardKey(name='9c', reference=156, usage=<KeyUsage.SIGN: 'sign'>, pin=None, pin_each_time=False, certificate=None, \
algorithm=None),)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tokens.smartcard.profiles import CardProfile

NOT_HEXADECIMAL = object()
"""Placeholder for a text that is not hexadecimal, so that validation refuses it at its place."""

_HEXADECIMAL = frozenset({"reference", "padding", "certificate", "algorithm", "serial_file"})
_TABLES_OF_HEXADECIMAL = frozenset({"authentication", "encryption"})


def read_profile(name: str, table: Mapping[str, Any]) -> CardProfile:
    """Return the profile. Raises `ValueError` with a sentence for each wrong entry."""
    try:
        return validate_profile(name, table)
    except ValidationError as error:
        sentences = [
            f"{name}{''.join(f'.{part}' for part in wrong['loc'])}: {_sentence(wrong)}"
            for wrong in error.errors(include_url=False, include_context=False)
        ]
        raise ValueError(" ".join(sentences)) from None


def validate_profile(name: str, table: Mapping[str, Any]) -> CardProfile:
    """Return the profile, for callers with messages of their own.

    Raises pydantic's `ValidationError` with the place of each mistake. Its input is `NOT_HEXADECIMAL` for a text that
    is not hexadecimal.
    """
    return TypeAdapter(CardProfile).validate_python({"aid": None, **_as_numbers(table), "name": name})


def _sentence(wrong: ErrorDetails) -> str:
    if wrong["input"] is NOT_HEXADECIMAL:
        return f"'{wrong['loc'][-1]}' of a card profile is hexadecimal text, such as \"9c\"."
    return f"{wrong['msg']}."


def _as_numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    return {entry: _as_number(entry, value) for entry, value in table.items()}


def _as_number(entry: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if entry in _TABLES_OF_HEXADECIMAL:
            return {index: _as_number("reference", reference) for index, reference in value.items()}
        return _as_numbers(value)
    if isinstance(value, list):
        return [_as_numbers(item) if isinstance(item, Mapping) else item for item in value]
    if not isinstance(value, str) or entry not in _HEXADECIMAL | {"aid"}:
        return value
    try:
        return bytes.fromhex(value) if entry == "aid" else int(value, 16)
    except ValueError:
        return NOT_HEXADECIMAL
