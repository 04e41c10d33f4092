"""Which identities of a configuration use a key on a token."""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.config import Configuration, TokenAccess
from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.config.sections import IdentitySection
from hsm_dicom.identity.opening import find_identity_access
from tokens.pkcs11.objects import KeyName
from tokens.pkcs11.search import TokenInfo, matches
from tokens.uri import Pkcs11Uri


def find_identities_of_key(configuration: Configuration, token: TokenInfo, key: KeyName) -> tuple[str, ...]:
    """Return the names of the identities whose key this is, as far as the configuration names label, id or token.

    An identity that names neither label nor id uses the only key of its token, so it counts.
    """
    return tuple(
        name
        for name, section in configuration.identities.items()
        if any(
            matches(access.uri, token) and access.uri.selects(key.label, key.id)
            for access in _list_tokens(configuration, name, section)
        )
    )


def _list_tokens(configuration: Configuration, name: str, section: IdentitySection) -> Iterator[TokenAccess]:
    """Yield access to the key of an identity on each of its tokens; nothing for a key on a card or in a file."""
    if section.key is not None and not isinstance(section.key, Pkcs11Uri):
        return
    access = find_identity_access(configuration, name, section)
    if isinstance(access, GroupAccess):
        yield from access.tokens
    elif isinstance(access, TokenAccess):
        yield access
