"""Subject alternative names (RFC 5280, 4.2.1.6) as people type them, with a sentence for each mistake."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from urllib.parse import urlsplit

from cryptography import x509

from tokens.errors import CeremonyError
from tokens.printable import printable


class NameKind(StrEnum):
    """The kinds of names that a request can have."""

    DNS = "dns"
    IP = "ip"
    EMAIL = "email"
    URI = "uri"


_WORDS = {
    NameKind.DNS: "a host name",
    NameKind.IP: "an IP address",
    NameKind.EMAIL: "an e-mail address",
    NameKind.URI: "a URI",
}


class MisplacedNameError(CeremonyError):
    """A name is of another kind than the one it was given as; `kind` and `name` are how to give it."""

    def __init__(self, text: str, given: NameKind, kind: NameKind, name: str) -> None:
        super().__init__(f"'{text}' is {_WORDS[kind]}, not {_WORDS[given]}.", remedy=f"Give it as {_WORDS[kind]}.")
        self.kind = kind
        self.name = name


_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST_HOST = 253
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def parse_alternative_name(kind: NameKind, text: str) -> x509.GeneralName:
    """Read a name of this kind.

    Raises `MisplacedNameError` for a name of another kind, and `CeremonyError` for any other mistake.
    """
    shown = printable(text)
    if not text.strip():
        raise CeremonyError(f"{_WORDS[kind].capitalize()} is empty.", remedy="Type it, or leave it out.")
    if re.search(r"[\s,;]", text) and kind is not NameKind.URI and "<" not in text:
        raise CeremonyError(
            f"'{shown}' contains a blank, a comma or a semicolon.", remedy="Give each name by itself, without blanks."
        )
    match kind:
        case NameKind.DNS:
            return x509.DNSName(_read_host(text, shown))
        case NameKind.IP:
            return x509.IPAddress(_read_address(text, shown))
        case NameKind.EMAIL:
            return x509.RFC822Name(_read_email(text, shown))
        case NameKind.URI:
            return x509.UniformResourceIdentifier(_read_uri(text, shown))


def _read_host(text: str, shown: str) -> str:
    if _is_address(text):
        raise MisplacedNameError(shown, NameKind.DNS, NameKind.IP, text)
    if "@" in text:
        raise MisplacedNameError(shown, NameKind.DNS, NameKind.EMAIL, text)
    host = _host_of(text)
    if host != text:
        raise CeremonyError(f"'{shown}' is more than a host name.", remedy=f"Write {printable(host)} alone.")
    _check_host(text, shown)
    return text


def _host_of(text: str) -> str:
    """Return the host name in a URI or in 'host:port', and without a dot at its end."""
    try:
        host = urlsplit(text if "://" in text else f"//{text}").hostname or text
    except ValueError:
        return text
    host = text[text.lower().find(host) :][: len(host)] if host in text.lower() else host
    return host.rstrip(".") or text


def _check_host(text: str, shown: str) -> None:
    """Raise `CeremonyError` unless this is a host name (RFC 1123, 2.1), or one with a wildcard (RFC 9525, 6.3)."""
    if not text.isascii():
        raise CeremonyError(
            f"'{shown}' has characters that a host name in a certificate cannot have.",
            remedy="Write its ASCII form, which begins with xn--.",
        )
    labels = text.split(".")
    if labels[0] == "*" and len(labels) > 2:
        labels = labels[1:]
    if any("*" in label for label in labels):
        raise CeremonyError(
            f"The * in '{shown}' is not allowed.", remedy="Write it as the whole first label, as in *.hospital.example."
        )
    if labels[-1].isdigit():
        raise CeremonyError(
            f"'{shown}' looks like an IP address and is none.", remedy="Write four numbers from 0 to 255, or a name."
        )
    wrong = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if wrong is not None or len(text) > _LONGEST_HOST:
        part = f": its part '{printable(wrong)}' is not allowed" if wrong is not None else ""
        raise CeremonyError(
            f"'{shown}' is no host name{part}.",
            remedy="Use letters, digits and inner hyphens, 63 in each part at most, and dots between the parts.",
        )


def _read_address(text: str, shown: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _explain_no_address(text, shown) from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise CeremonyError(f"'{shown}' has a zone.", remedy=f"Write {text.partition('%')[0]} alone.")
    if address.is_unspecified:
        raise CeremonyError(
            f"'{shown}' stands for every address of a computer.", remedy="Give the address that peers connect to."
        )
    return address


def _explain_no_address(text: str, shown: str) -> CeremonyError:
    inner = text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0]
    if _is_address(inner):
        return CeremonyError(f"'{shown}' is more than an IP address.", remedy=f"Write {inner} alone.")
    if _is_address(text.partition("/")[0]):
        return CeremonyError(f"'{shown}' is a network.", remedy="Give each address by itself.")
    try:
        _check_host(text, shown)
    except CeremonyError:
        return CeremonyError(f"'{shown}' is no IP address.", remedy="Write it like 10.0.0.7 or 2001:db8::7.")
    return MisplacedNameError(shown, NameKind.IP, NameKind.DNS, text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_email(text: str, shown: str) -> str:
    inner = re.search(r"[^\s<>:]+@[^\s<>:]+", text)
    if inner is None:
        raise CeremonyError(f"'{shown}' is no e-mail address.", remedy="Write it like it@hospital.example.")
    if inner[0] != text:
        raise CeremonyError(f"'{shown}' is more than an e-mail address.", remedy=f"Write {printable(inner[0])} alone.")
    local, _, host = text.rpartition("@")
    if not local.isascii() or "@" in local:
        raise CeremonyError(
            f"'{shown}' has characters that an e-mail address in a certificate cannot have.",
            remedy="Use an address with ASCII characters only.",
        )
    _check_host(host, host)
    return text


def _read_uri(text: str, shown: str) -> str:
    if not text.isascii() or re.search(r"[\s<>\"]", text):
        raise CeremonyError(
            f"'{shown}' has characters that a URI cannot have.", remedy="Write them as %XX, such as %20 for a blank."
        )
    if not _SCHEME.match(text):
        if _is_address(text):
            raise MisplacedNameError(shown, NameKind.URI, NameKind.IP, text)
        raise CeremonyError(
            f"'{shown}' has no scheme, which a URI begins with.",
            remedy=f"Write it like https://{text.lstrip('/')}, or give it as {_WORDS[NameKind.DNS]}.",
        )
    scheme, _, rest = text.partition(":")
    if not rest.strip("/"):
        raise CeremonyError(f"'{shown}' has nothing after its scheme.", remedy=f"Write it like {scheme}://ct1.example.")
    return text
