"""Access to one key on several tokens, as `tokens = [...]` of an identity describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace

from hsm_dicom.config.devices import KeyAccess, TokenAccess, find_token_access, format_key_name
from hsm_dicom.config.sections import Configuration, IdentitySection
from tokens.errors import PinSourceError, SeveralKeysError
from tokens.group import PROBE_SECONDS, MemberPool, Mode, find_member_token, open_copies
from tokens.group.key_group import PublicKey
from tokens.group.opening import check_same_key
from tokens.group.pool import Check
from tokens.keys import PrivateKey
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromDescriptor, PinSource
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
    """Everything that opening one key on several tokens needs. `identity` is the name of its identity.

    With `siblings` each token holds a key of its own, so that `hsm_dicom.identity.siblings` opens them.
    """

    identity: str
    tokens: tuple[TokenAccess, ...]
    mode: Mode
    probe_seconds: float
    siblings: bool = False

    def open_key(
        self, allow: Set[Weakness] = frozenset(), accepts: Callable[[PublicKey], bool] | None = None
    ) -> PrivateKey:
        """Open the key on every token that has it; see `tokens.open_key_group`.

        Raises `SeveralKeysError` if each token has a key of its own.
        """
        if self.siblings:
            raise SeveralKeysError(
                f"Identity '{self.identity}' has a key of its own on each token.",
                remedy=f"Name one of them: {' or '.join(self.key_names)}.",
            )
        return open_copies(self.make_pool(allow, accepts))

    @property
    def key_names(self) -> list[str]:
        """The short forms of the key on each token."""
        return [format_key_name(token.name or "", token.uri.object or "LABEL") for token in self.tokens]

    def make_pool(
        self,
        allow: Set[Weakness] = frozenset(),
        accepts: Callable[[PublicKey], bool] | None = None,
        *,
        check: Check | None = None,
    ) -> MemberPool:
        """Return the members, none of them open. `check` replaces the check that their keys are the same."""
        return MemberPool(
            self.identity,
            [GroupMember(token, frozenset(allow)) for token in self.tokens],
            self.mode,
            probe_seconds=self.probe_seconds,
            check=check or check_same_key(accepts),
        )


IdentityKeyAccess = KeyAccess | GroupAccess
"""Access to the key of an identity: on a token, on a card, or on several tokens."""


def find_group_access(
    configuration: Configuration, name: str, section: IdentitySection, *, pin: PinSource | None = None
) -> GroupAccess:
    """Return access to the key of the identity `[identities.NAME]` on its `tokens`.

    Raises as `find_token_access` does, and `PinSourceError` for a PIN source that serves one token only.
    """
    found = [
        find_token_access(configuration, one, pin=pin).select_object(section.object, section.id)
        for one in section.tokens or ()
    ]
    _require_sources_for_all(found)
    return GroupAccess(
        identity=name,
        tokens=tuple(found),
        mode=Mode(section.mode or Mode.FAILOVER),
        probe_seconds=section.probe_seconds or PROBE_SECONDS,
        siblings=bool(section.siblings),
    )


def choose_pin(access: IdentityKeyAccess, pin: PinSource | None, default: PinSource | None = None) -> IdentityKeyAccess:
    """Return the access with `pin` as the source of every PIN; `default` is for tokens that have no source.

    Raises `PinSourceError` for a source that serves one token only.
    """
    if isinstance(access, GroupAccess):
        tokens = tuple(replace(token, pin=pin or token.pin or default) for token in access.tokens)
        _require_sources_for_all(tokens)
        return replace(access, tokens=tokens)
    return replace(access, pin=pin or access.pin or default)


def _require_sources_for_all(tokens: Sequence[TokenAccess]) -> None:
    """Raise `PinSourceError` if two tokens would read their PIN from one file descriptor, which gives it once."""
    descriptors = [token.pin for token in tokens if isinstance(token.pin, FromDescriptor)]
    for descriptor in descriptors:
        if descriptors.count(descriptor) > 1:
            raise PinSourceError(
                f"The PIN can be read from '{descriptor}' once, and the key is on {len(tokens)} tokens.",
                remedy="Use a source that can be read again, such as file:PATH, or give each token one of its own.",
            )
