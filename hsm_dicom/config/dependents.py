"""References between tables: a table that names one with a mistake cannot be checked yet.

If the other table were treated as missing, a mistake would be reported for a table that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hsm_dicom.config.gateway_sections import RouteSection
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.network_sections import ListenerSection, PeerSection
from hsm_dicom.config.sections import Configuration, IdentitySection
from tokens.card_uri import CardUri

NAMED = ("tokens", "identities", "cards", "peers", "listeners", "plain", "routes", "alarms", "policies")
"""The tables that contain named tables."""

_NAMING = ("identities", "peers", "listeners", "routes")
"""Those among them whose tables name others."""


def get_table(path: KeyPath) -> KeyPath:
    """Return the table of a key, such as ("tokens", "ct-room") or ("trust",)."""
    return path[:2] if path[0] in NAMED else path[:1]


def drop_dependents(configuration: Configuration, wrong: Iterable[KeyPath]) -> Configuration:
    """Return the configuration without the tables that name a wrong one, directly or through others."""
    out = set(wrong)
    tables: dict[KeyPath, Any] = {("iscl",): configuration.iscl}
    for kind in _NAMING:
        named: Mapping[str, Any] = getattr(configuration, kind)
        tables |= {(kind, name): section for name, section in named.items()}
    while found := {place for place, section in tables.items() if place not in out and out & set(_names(section))}:
        out |= found
    return configuration.model_copy(
        update={"iscl": None if ("iscl",) in out else configuration.iscl}
        | {
            kind: {name: section for name, section in getattr(configuration, kind).items() if (kind, name) not in out}
            for kind in _NAMING
        }
    )


def _names(section: object) -> Iterator[KeyPath]:
    """Yield the tables that a table names."""
    match section:
        case IdentitySection():
            yield "tokens", section.token or ""
            yield from (("tokens", name) for name in section.tokens or ())
            yield "identities", section.next or ""
            if isinstance(section.key, CardUri):
                yield "cards", section.key.profile or ""
        case ISCLSection():
            yield "tokens", section.token or ""
            yield "tokens", section.authentication_token or ""
        case PeerSection():
            yield "identities", section.identity or ""
            yield from _names_of_iscl(section.iscl)
        case ListenerSection():
            yield ("trust",)
            yield from (("identities", name) for name in section.identities)
            yield from (("peers", name) for name in section.peers or ())
            yield "policies", section.policy or ""
            yield from _names_of_iscl(section.iscl)
        case RouteSection():
            for name in (*section.sources, section.to):
                yield "plain", name
                yield "peers", name
            yield "listeners", section.listener or ""


def _names_of_iscl(section: ISCLSection | None) -> Iterator[KeyPath]:
    if section is not None:
        yield ("iscl",)
        yield from _names(section)
