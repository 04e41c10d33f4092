r"""Subjects of certificates as people type them, with a sentence for each mistake.

Three ways of writing are read:

* from the country down, as OpenSSL prints names: ``C=DE, O=Klinik, CN=CT 1``
* from the common name up, as RFC 4514 writes them: ``CN=CT 1,O=Klinik,C=DE``
* with slashes, as `openssl req -subj` takes them: ``/C=DE/O=Klinik/CN=CT 1``

All three are the same name. The first two are told apart by their first and last attribute: if the first one stands
higher (C and DC, ST, L, O, OU, CN), the text goes down. A name with slashes always goes down. A text whose two ends
stand equally high, such as ``OU=a,OU=b``, is read as in RFC 4514.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tokens.errors import CeremonyError
from tokens.printable import printable


@dataclass(frozen=True)
class _Kind:
    """An attribute of a name: its upper bound in characters (RFC 5280, appendix A), and how high it stands."""

    name: str
    oid: ObjectIdentifier
    longest: int
    height: int
    also: tuple[str, ...] = ()


_KINDS = (
    _Kind("C", NameOID.COUNTRY_NAME, 2, 6),
    _Kind("DC", NameOID.DOMAIN_COMPONENT, 63, 6),
    _Kind("ST", NameOID.STATE_OR_PROVINCE_NAME, 128, 5, ("S", "stateOrProvinceName")),
    _Kind("L", NameOID.LOCALITY_NAME, 128, 4, ("localityName",)),
    _Kind("street", NameOID.STREET_ADDRESS, 128, 4, ("streetAddress",)),
    _Kind("postalCode", NameOID.POSTAL_CODE, 40, 4),
    _Kind("O", NameOID.ORGANIZATION_NAME, 64, 3, ("organizationName",)),
    _Kind("organizationIdentifier", NameOID.ORGANIZATION_IDENTIFIER, 256, 3),
    _Kind("OU", NameOID.ORGANIZATIONAL_UNIT_NAME, 64, 2, ("organizationalUnitName",)),
    _Kind("CN", NameOID.COMMON_NAME, 64, 1, ("commonName",)),
    _Kind("UID", NameOID.USER_ID, 256, 1, ("userId",)),
    _Kind("serialNumber", NameOID.SERIAL_NUMBER, 64, 1),
    _Kind("title", NameOID.TITLE, 64, 1),
    _Kind("givenName", NameOID.GIVEN_NAME, 64, 1, ("GN",)),
    _Kind("surname", NameOID.SURNAME, 64, 1),
    _Kind("pseudonym", NameOID.PSEUDONYM, 128, 1),
    _Kind("dnQualifier", NameOID.DN_QUALIFIER, 64, 1),
    _Kind("emailAddress", NameOID.EMAIL_ADDRESS, 255, 0, ("E", "email")),
)
_BY_NAME = {name.lower(): kind for kind in _KINDS for name in (kind.name, *kind.also)}
_BY_OID = {kind.oid: kind for kind in _KINDS}
_KNOWN = ", ".join(kind.name for kind in _KINDS)
_LONGEST_OF_OTHERS = 256

_PRINTABLE_STRING = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")  # X.680, 41.4
_PRINTABLE_ONLY = (NameOID.SERIAL_NUMBER, NameOID.DN_QUALIFIER)
_ASCII_ONLY = (NameOID.EMAIL_ADDRESS, NameOID.DOMAIN_COMPONENT)
_HEX_PAIR = re.compile(r"\\([0-9A-Fa-f]{2})")

_Text = Sequence[tuple[str, bool]]
"""Characters, each with whether it was escaped or quoted, so that it separates nothing."""


def parse_subject(text: str) -> x509.Name:
    """Read the subject of a certificate. Raises `CeremonyError`, whose remedy shows how to write it."""
    if not text.strip():
        raise CeremonyError("The subject is empty.", remedy="Write it like 'C=DE, O=Hospital, CN=CT 1'.")
    slashes = text.lstrip().startswith("/")
    body = text.lstrip()[1:] if slashes else text
    separator = "/" if slashes else ","
    parts = list(_split(_read_characters(body, quotes=not slashes), "/" if slashes else ",;"))
    names = [
        [
            _parse_attribute(one, text, "+" if inner else separator if outer else "")
            for inner, one in enumerate(_split(part, "+"))
        ]
        for outer, part in enumerate(parts)
    ]
    countries = [one for name in names for one in name if one.oid == NameOID.COUNTRY_NAME]
    if len(countries) > 1:
        raise CeremonyError(f"The subject '{printable(text)}' has two countries.", remedy="Write C= once.")
    if not slashes and not _goes_down(names):
        names.reverse()
    return x509.Name([x509.RelativeDistinguishedName(name) for name in names])


def _goes_down(names: Sequence[Sequence[x509.NameAttribute[str]]]) -> bool:
    """Return whether the first attribute stands higher than the last one. An e-mail address stands anywhere."""
    heights = [_BY_OID[name[0].oid].height for name in names if name[0].oid in _BY_OID]
    heights = [height for height in heights if height]
    return bool(heights) and heights[0] > heights[-1]


def _read_characters(text: str, *, quotes: bool) -> list[tuple[str, bool]]:
    r"""Resolve escapes (RFC 4514, 2.4) and quotes (RFC 2253, 4)."""
    found: list[tuple[str, bool]] = []
    quoted, place = False, 0
    while place < len(text):
        character = text[place]
        if character == "\\":
            octets = bytearray()
            while pair := _HEX_PAIR.match(text, place):
                octets += bytes.fromhex(pair[1])
                place = pair.end()
            if octets:
                found += [(one, True) for one in _decode(bytes(octets), text)]
                continue
            if place + 1 == len(text):
                raise CeremonyError(
                    f"The subject '{printable(text)}' ends with a backslash.",
                    remedy=r"Write \\ for a backslash that belongs to the value.",
                )
            found.append((text[place + 1], True))
            place += 2
            continue
        if character == '"' and quotes:
            quoted = not quoted
        else:
            found.append((character, quoted))
        place += 1
    if quoted:
        raise CeremonyError(
            f"A quotation mark in the subject '{printable(text)}' is not closed.",
            remedy=r"Close it, or write \" for one that belongs to the value.",
        )
    return found


def _decode(octets: bytes, text: str) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise CeremonyError(
            f"The hexadecimal escapes in the subject '{printable(text)}' are no UTF-8.",
            remedy="Write the characters themselves.",
        ) from None


def _split(characters: _Text, separators: str) -> Iterator[_Text]:
    begin = 0
    for place, (character, escaped) in enumerate(characters):
        if character in separators and not escaped:
            yield characters[begin:place]
            begin = place + 1
    yield characters[begin:]


def _parse_attribute(part: _Text, subject: str, separator: str) -> x509.NameAttribute[str]:
    """Read one attribute, which the separator divides from the one before it; the first one has none."""
    name, equals, value = _divide(part)
    whole, named = printable(subject), printable(name)
    if not name and not equals:
        raise CeremonyError(
            f"The subject '{whole}' has an empty part.", remedy="Remove the separator that is one too many."
        )
    if not equals:
        escape = f", or write \\{separator} for a '{separator}' that belongs to a value" if separator else ""
        raise CeremonyError(
            f"The part '{named}' of the subject '{whole}' names no attribute.",
            remedy=f"Write it like 'CN={named}'{escape}.",
        )
    oid, shown = _find_type(name, whole)
    text = "".join(character for character, _ in value)
    _check_value(oid, shown, text, value)
    return x509.NameAttribute(oid, text)


def _divide(part: _Text) -> tuple[str, bool, _Text]:
    """Return the name of an attribute, whether '=' follows, and its value without the blanks around it."""
    place = next((at for at, (character, escaped) in enumerate(part) if character == "=" and not escaped), None)
    name = "".join(character for character, _ in part[:place]).strip()
    if place is None:
        return name, False, ()
    value = list(part[place + 1 :])
    while value and value[0] == (" ", False):
        value.pop(0)
    while value and value[-1] == (" ", False):
        value.pop()
    return name, True, value


def _find_type(name: str, subject: str) -> tuple[ObjectIdentifier, str]:
    """Return the object identifier of an attribute, and its name in sentences."""
    kind = _BY_NAME.get(name.lower())
    if kind is not None:
        return kind.oid, kind.name
    dotted = re.sub(r"(?i)^oid\.", "", name)
    if re.fullmatch(r"[0-2](\.\d+)+", dotted):
        try:
            oid = ObjectIdentifier(dotted)
        except ValueError:
            pass
        else:
            return oid, _BY_OID[oid].name if oid in _BY_OID else dotted
    if name.lower() == "sn":
        raise CeremonyError(
            f"SN in the subject '{subject}' has two meanings.",
            remedy="Write serialNumber= for the number of a device, or surname= for a person.",
        )
    close = difflib.get_close_matches(name.lower(), _BY_NAME, n=1) if len(name) > 2 else []
    meant = f"Did you mean {_BY_NAME[close[0]].name}? " if close else ""
    raise CeremonyError(
        f"'{printable(name)}' in the subject '{subject}' is no known attribute.",
        remedy=f"{meant}Use one of {_KNOWN}, or an object identifier such as 2.5.4.3.",
    )


def _check_value(oid: ObjectIdentifier, shown: str, text: str, value: _Text) -> None:
    """Raise `CeremonyError` for a value that the attribute cannot have, or that holds another attribute."""
    longest = _BY_OID[oid].longest if oid in _BY_OID else _LONGEST_OF_OTHERS
    if not text.strip():
        raise CeremonyError(f"{shown} has no value.", remedy=f"Write one after {shown}=, or leave {shown}= out.")
    if not text.isprintable():
        raise CeremonyError(f"The value of {shown} has a control character.", remedy="Type it again.")
    swallowed = _find_swallowed(value)
    if swallowed is not None:
        raise CeremonyError(
            f"The value of {shown}, '{text}', contains '{swallowed}='.",
            remedy=f"Put a comma before {swallowed} (a slash, if the subject begins with one), or write {swallowed}\\= "
            "if it belongs to the value.",
        )
    if oid == NameOID.COUNTRY_NAME and not re.fullmatch("[A-Z]{2}", text):
        raise CeremonyError(
            f"The country '{text}' is no code of ISO 3166.", remedy="Write its two capital letters, such as C=DE."
        )
    if len(text) > longest:
        raise CeremonyError(
            f"The value of {shown} has {len(text)} characters, and {longest} are allowed (RFC 5280).",
            remedy="Shorten it.",
        )
    if oid in _ASCII_ONLY and not text.isascii():
        raise CeremonyError(f"The value of {shown}, '{text}', may have ASCII characters only.", remedy="Replace them.")
    if oid in _PRINTABLE_ONLY and not _PRINTABLE_STRING.fullmatch(text):
        raise CeremonyError(
            f"The value of {shown}, '{text}', may have letters, digits, blanks and '()+,-./:=? only.",
            remedy="Replace the others.",
        )
    if oid == NameOID.EMAIL_ADDRESS and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise CeremonyError(f"'{text}' is no e-mail address.", remedy="Write it like emailAddress=it@hospital.example.")


def _find_swallowed(value: _Text) -> str | None:
    """Return the attribute that a value contains, because a blank was typed instead of a comma."""
    plain = "".join("\0" if escaped else character for character, escaped in value)
    for found in re.finditer(r"(?<=\s)(\w+) ?=", plain):
        if found[1].lower() in _BY_NAME:
            return found[1]
    return None
