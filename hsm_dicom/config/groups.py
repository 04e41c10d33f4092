"""Access to one key on several tokens, as `tokens = [...]` of an identity describes it."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from hsm_dicom.config.devices import KeyAccess, NotConfiguredError, TokenAccess, find_token_access
from hsm_dicom.config.sections import Configuration, IdentitySection
from tokens.group import PROBE_SECONDS, MemberPool, Mode, find_member_token, open_copies
from tokens.group.key_group import PublicKey
from tokens.group.opening import check_same_key
from tokens.keys import PrivateKey
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource
from tokens.pkcs11.search import TokenInfo
from tokens.policy import Weakness


@dataclass(frozen=True)
class GroupMember:
    """One token of a group. Satisfies `tokens.group.MemberAccess`."""

    token: TokenAccess
    weaknesses: frozenset[Weakness] = frozenset()

    @property
    def name(self) -> str:
        """The NAME of the token in the configuration."""
        return self.token.name or str(self.token.uri)

    @property
    def pin(self) -> PinSource | None:
        """The source of its PIN."""
        return self.token.pin

    @property
    def memory(self) -> RefusalMemory:
        """The record of refused PINs."""
        return self.token.memory

    def find_token(self) -> TokenInfo:
        """Return the token. Presents no PIN."""
        return find_member_token(self.token.module(), self.token.uri)

    def open_key(self) -> PrivateKey:
        """Log in and open the key."""
        return self.token.open_key(self.weaknesses)


@dataclass(frozen=True)
class GroupAccess:
    """Everything that opening one key on several tokens needs. `identity` is the name of its identity."""

    identity: str
    tokens: tuple[TokenAccess, ...]
    mode: Mode
    probe_seconds: float

    def open_key(
        self, allow: Set[Weakness] = frozenset(), accepts: Callable[[PublicKey], bool] | None = None
    ) -> PrivateKey:
        """Open the key on every token that has it; see `tokens.open_key_group`."""
        return open_copies(self.make_pool(allow, accepts))

    def make_pool(
        self, allow: Set[Weakness] = frozenset(), accepts: Callable[[PublicKey], bool] | None = None
    ) -> MemberPool:
        """Return the members, none of them open."""
        return MemberPool(
            self.identity,
            [GroupMember(token, frozenset(allow)) for token in self.tokens],
            self.mode,
            probe_seconds=self.probe_seconds,
            check=check_same_key(accepts),
        )


IdentityKeyAccess = KeyAccess | GroupAccess
"""Access to the key of an identity: on a token, on a card, or on several tokens."""


def find_group_access(
    configuration: Configuration, name: str, section: IdentitySection, *, pin: PinSource | None = None
) -> GroupAccess:
    """Return access to the key of the identity `[identities.NAME]` on its `tokens`.

    Raises `NotConfiguredError` for a name without a table, and as `find_token_access` does.
    """
    names = section.tokens or ()
    unknown = [one for one in names if one not in configuration.tokens]
    if unknown:
        known = ", ".join(configuration.tokens) or "none"
        raise NotConfiguredError(
            f"tokens names '{unknown[0]}', and there is no [tokens.{unknown[0]}] in the configuration; there: {known}."
        )
    found = [find_token_access(configuration, one, pin=pin).select_object(section.object, section.id) for one in names]
    return GroupAccess(
        identity=name,
        tokens=tuple(found),
        mode=Mode(section.mode or Mode.FAILOVER),
        probe_seconds=section.probe_seconds or PROBE_SECONDS,
    )


def choose_pin(access: IdentityKeyAccess, pin: PinSource | None, default: PinSource | None = None) -> IdentityKeyAccess:
    """Return the access with `pin` as the source of every PIN; `default` is for tokens that have no source."""
    if isinstance(access, GroupAccess):
        tokens = tuple(replace(token, pin=pin or token.pin or default) for token in access.tokens)
        return replace(access, tokens=tokens)
    return replace(access, pin=pin or access.pin or default)
