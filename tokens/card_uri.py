"""`card:` URIs, which identify a smart card, its application, and a key on it.

They are built like `pkcs11:` URIs (RFC 7512), whose escaping rules they share:

>>> uri = CardUri.parse("card:profile=piv;key=9c;reader=Omnikey*?pin-source=file:/etc/pin")
>>> uri.profile, uri.key, uri.reader
('piv', '9c', 'Omnikey*')
>>> str(uri)
'card:reader=Omnikey*;profile=piv;key=9c?pin-source=file:/etc/pin'

| attribute    | meaning                                                                                        |
|--------------|------------------------------------------------------------------------------------------------|
| `reader`     | the reader's name, a pattern in which * stands for any text                                    |
| `atr`        | what the card says when it is powered, in hexadecimal, a pattern too                           |
| `serial`     | the card's own serial number                                                                   |
| `profile`    | which commands the card understands: piv, openpgp, iso7816, or a profile that the caller adds  |
| `aid`        | the application's identifier, in hexadecimal, if it is not the profile's                       |
| `key`        | which key, by the name that the profile gives it: 9c, sign, …                                  |
| `sharing`    | `exclusive` (default): the card is ours while it is open; `transactions`: only during each use |
| `pin-source` | in the query: where the PIN comes from (see `tokens.pins.sources`)                             |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from tokens.errors import UriError

_PATH = ("reader", "atr", "serial", "profile", "aid", "key", "sharing")
_SAFE = "-._~:[]@!$'()*+,=/"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SHARING = ("exclusive", "transactions")


@dataclass(frozen=True, kw_only=True)
class CardUri:
    """One parsed URI. An attribute that is None was not given and matches everything; see the module for each."""

    reader: str | None = None
    atr: str | None = None
    serial: str | None = None
    profile: str | None = None
    aid: bytes | None = None
    key: str | None = None
    sharing: str | None = None
    pin_source: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI. Raises `UriError` naming the attribute that is wrong."""
        scheme, colon, rest = text.partition(":")
        if not colon or scheme.lower() != "card":
            raise UriError("A card URI begins with 'card:'.")
        if re.search(r"\s", text):
            raise UriError("A card: URI must not contain white space.", remedy="Write a space as %20.")
        path, _, query = rest.partition("?")
        values: dict[str, str] = {}
        for part in filter(None, path.split(";")):
            name, equals, raw = part.partition("=")
            if not equals or name not in _PATH:
                raise UriError(
                    f"A card: URI has no attribute '{name[:24]}'. It may have: {', '.join(_PATH)}, pin-source."
                )
            if name in values:
                raise UriError(f"A card: URI has the attribute '{name}' more than once.", remedy="Write it once.")
            values[name] = _decode(name, raw)
        sharing = values.get("sharing")
        if sharing is not None and sharing not in _SHARING:
            raise UriError(f"sharing={sharing[:24]} in a card: URI is neither of {', '.join(_SHARING)}.")
        aid = values.pop("aid", None)
        return cls(
            **values,
            aid=None if aid is None else _hexadecimal("aid", aid),
            pin_source=_pin_source(query),
        )

    def __str__(self) -> str:
        given = [
            (name, value.hex() if isinstance(value, bytes) else quote(value, _SAFE))
            for name in _PATH
            if (value := getattr(self, name)) is not None
        ]
        path = ";".join(f"{name}={value}" for name, value in given)
        query = f"?pin-source={quote(self.pin_source, _SAFE)}" if self.pin_source is not None else ""
        return f"card:{path}{query}"

    @property
    def exclusive(self) -> bool:
        """Whether this program uses the card exclusively while it is open."""
        return self.sharing != "transactions"

    def card_part(self) -> CardUri:
        """Return the URI without its key."""
        return replace(self, key=None)


def _decode(name: str, raw: str) -> str:
    if _BROKEN_ESCAPE.search(raw):
        raise UriError(f"The attribute '{name}' of a card: URI has a '%' without two hexadecimal digits.")
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UriError(f"The attribute '{name}' of a card: URI is not UTF-8 text.") from error


def _pin_source(query: str) -> str | None:
    source = None
    for part in filter(None, query.split("&")):
        name, _, raw = part.partition("=")
        if name == "pin-value":
            raise UriError(
                "A card: URI may not carry a PIN (pin-value): URIs end up in logs, process lists and configuration "
                "files.",
                remedy="State where the PIN is with pin-source.",
            )
        if name != "pin-source" or source is not None:
            raise UriError("The query of a card: URI is one pin-source=… and nothing else.")
        source = _decode(name, raw)
    return source


def _hexadecimal(name: str, text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise UriError(f"The attribute '{name}' of a card: URI is not hexadecimal.") from error
    if not 1 <= len(value) <= 16:
        raise UriError(f"The attribute '{name}' of a card: URI has 1 to 16 bytes, not {len(value)}.")
    return value
