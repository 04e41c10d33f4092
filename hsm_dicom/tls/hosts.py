"""Host names and addresses as DNS, TLS and certificates have them: ASCII, with A-labels (RFC 5890, RFC 9525 2.1)."""

from __future__ import annotations

import ipaddress
import re

import idna

from hsm_dicom.tls.errors import TLSError

_LONGEST_LABEL, _LONGEST_NAME = 63, 253
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
"""Letters, digits and hyphens (RFC 1123, 2.1), and the underscore, which private networks use all the same."""


class HostNameError(TLSError):
    """What was written as a host is neither a host name nor an address."""


def ascii_host(host: str) -> str:
    """Return a host as DNS asks for it: an address as it is, a name without its last dot, with A-labels.

    Raises `HostNameError` with what is wrong and how to write it.
    """
    if is_address(host):
        return host
    name = host.removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise HostNameError(f"'{host}' is no host name ({error}). {_REMEDY}") from error
    if "/" in name:
        raise HostNameError(f"'{host}' is no host name; write the host alone, without a scheme or a path.")
    if ":" in name or name.startswith("["):
        raise HostNameError(
            f"'{host}' is no host name; write the port as port =, and an IPv6 address without brackets."
        )
    if len(name) > _LONGEST_NAME:
        raise HostNameError(f"'{name[:40]}…' is no host name: it is longer than {_LONGEST_NAME} characters. {_REMEDY}")
    for label in name.split("."):
        if len(label) > _LONGEST_LABEL:
            raise HostNameError(
                f"'{label[:20]}…' cannot be part of a host name: it has {len(label)} characters, and "
                f"{_LONGEST_LABEL} is the most. {_REMEDY}"
            )
        if not _LABEL.fullmatch(label):
            raise HostNameError(f"'{host}' is no host name: '{label}' cannot be a part of one. {_REMEDY}")
    return name


def is_address(host: str) -> bool:
    """Whether a host is written as an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_REMEDY = "Write a host name such as pacs.example, or an address."
