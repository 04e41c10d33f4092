"""RFC 7512 `pkcs11:` URIs, which identify a token and an object on it.

>>> uri = Pkcs11Uri.parse("pkcs11:token=CT%20room;object=node;type=private?pin-source=file:/etc/pin")
>>> uri.token, uri.object, uri.type
('CT room', 'node', 'private')
>>> str(uri)
'pkcs11:token=CT%20room;object=node;type=private?pin-source=file:/etc/pin'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tokens.errors import UriError

OBJECT_TYPES = ("public", "private", "cert", "secret-key", "data")
"""The values of the `type` attribute (RFC 7512, 2.3)."""

_PATH = (
    "token",
    "manufacturer",
    "serial",
    "model",
    "library-manufacturer",
    "library-version",
    "library-description",
    "object",
    "type",
    "id",
    "slot-manufacturer",
    "slot-description",
    "slot-id",
)
_QUERY = ("pin-source", "module-path")
# What RFC 7512 allows unescaped: its res-avail set, with `&` in the path and `/?|` in the query.
_PATH_SAFE = "-._~:[]@!$'()*+,=&"
_QUERY_SAFE = "-._~:[]@!$'()*+,=/?|"
_NAME = re.compile(r"[a-zA-Z0-9_-]+\Z")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, kw_only=True)
class Pkcs11Uri:
    """One parsed URI. An attribute that is None was not given and matches everything.

    `id` is bytes (CKA_ID); `slot_id` is a number; everything else is text. `others` keeps query
    attributes that are not known here, which RFC 7512 has a reader ignore.
    """

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_version: str | None = None
    library_description: str | None = None
    object: str | None = None
    type: str | None = None
    id: bytes | None = None
    slot_manufacturer: str | None = None
    slot_description: str | None = None
    slot_id: int | None = None
    pin_source: str | None = None
    module_path: Path | None = None
    others: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI. Raises `UriError` naming the attribute that is wrong."""
        scheme, colon, rest = text.partition(":")
        if not colon or scheme.lower() != "pkcs11":
            raise UriError(f"'{_shorten(text)}' is not a PKCS#11 URI: it does not begin with 'pkcs11:'.")
        path, _, query = rest.partition("?")
        values: dict[str, Any] = {}
        for name, raw in _attributes(path, ";"):
            if name not in _PATH:
                raise UriError(
                    f"The attribute '{name}' in a pkcs11: URI is not supported. Supported are: {', '.join(_PATH)}.",
                    remedy="Remove it.",
                )
            _put(values, name, _decode(name, raw))
        others: list[tuple[str, str]] = []
        for name, raw in _attributes(query, "&"):
            if name == "pin-value":
                raise UriError(
                    "A pkcs11: URI may not carry a PIN (pin-value): URIs end up in logs, process lists and "
                    "configuration files.",
                    remedy="State where the PIN is with pin-source.",
                )
            if name in _QUERY:
                _put(values, name, _decode(name, raw))
            else:
                others.append((name, raw))
        return cls(**values, others=tuple(others))

    def __str__(self) -> str:
        path = [f"{name}={_encode(value, _PATH_SAFE)}" for name, value in self._list_given(_PATH)]
        query = [f"{name}={_encode(value, _QUERY_SAFE)}" for name, value in self._list_given(_QUERY)]
        query += [f"{name}={raw}" for name, raw in self.others]
        return "pkcs11:" + ";".join(path) + ("?" + "&".join(query) if query else "")

    def _list_given(self, names: tuple[str, ...]) -> list[tuple[str, str | bytes | int | Path]]:
        pairs = ((name, getattr(self, name.replace("-", "_"))) for name in names)
        return [(name, value) for name, value in pairs if value is not None]

    @property
    def names_an_object(self) -> bool:
        """Whether the URI has an attribute of an object, and not only of a token."""
        return any(value is not None for value in (self.object, self.type, self.id))

    def selects(self, label: str, key_id: bytes) -> bool:
        """Return whether an object with this label and id has those of the URI, as far as it names them."""
        return self.object in (None, label) and self.id in (None, key_id)

    def token_part(self) -> Pkcs11Uri:
        """Return the URI without its object attributes."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("object", "type", "id")}
        return Pkcs11Uri(**kept)


def _attributes(text: str, separator: str) -> list[tuple[str, str]]:
    pairs = []
    if re.search(r"\s", text):
        raise UriError("A pkcs11: URI must not contain white space.", remedy="Write a space as %20.")
    for part in filter(None, text.split(separator)):
        name, equals, raw = part.partition("=")
        if not equals or not _NAME.match(name):
            raise UriError(f"'{_shorten(part)}' in a pkcs11: URI is not of the form name=value.")
        pairs.append((name, raw))
    return pairs


def _put(values: dict[str, Any], name: str, value: object) -> None:
    key = name.replace("-", "_")
    if key in values:
        raise UriError(f"A pkcs11: URI has the attribute '{name}' more than once.", remedy="Write it once.")
    values[key] = value


def _decode(name: str, raw: str) -> str | bytes | int | Path:
    if _BROKEN_ESCAPE.search(raw):
        raise UriError(f"The attribute '{name}' of a pkcs11: URI has a '%' without two hexadecimal digits.")
    data = unquote_to_bytes(raw)
    if name == "id":
        return data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UriError(f"The attribute '{name}' of a pkcs11: URI is not UTF-8 text.") from error
    if name == "slot-id":
        if not text.isascii() or not text.isdigit():
            raise UriError(f"slot-id in a pkcs11: URI is a decimal number, not '{_shorten(text)}'.")
        return int(text)
    if name == "type" and text not in OBJECT_TYPES:
        raise UriError(f"type={_shorten(text)} in a pkcs11: URI is none of {', '.join(OBJECT_TYPES)}.")
    if name == "module-path":
        if not Path(text).is_absolute():
            raise UriError(f"module-path in a pkcs11: URI is an absolute path, not '{_shorten(text)}'.")
        return Path(text)
    return text


def _encode(value: str | bytes | int | Path, safe: str) -> str:
    if isinstance(value, bytes):
        return "".join(f"%{byte:02X}" for byte in value)
    return quote_from_bytes(str(value).encode("utf-8"), safe)


def _shorten(text: str) -> str:
    # A mistyped argument may be a PIN or a whole key file: never repeat more than its beginning.
    return text if len(text) <= 24 else text[:21] + "…"
