"""The environment of the templates of every page: all values are escaped, and their unprintable characters replaced."""

from __future__ import annotations

import unicodedata

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def make_environment(*packages: str) -> Environment:
    """Return an environment with the templates of these packages, and with `look.css` and the icons of this one."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "hsm_dicom.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_replace_unprintable,
    )


def _replace_unprintable(value: object) -> object:
    """Replace controls, bidirectional overrides and lone surrogates in a text; return other values unchanged."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(character if character.isprintable() else _stand_in(character) for character in value)


def _stand_in(character: str) -> str:
    return " " if unicodedata.category(character) == "Zs" else "\N{REPLACEMENT CHARACTER}"
