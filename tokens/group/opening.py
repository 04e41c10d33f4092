"""Opens one key on several tokens: `open_key_group(uris)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokens.errors import KeyMismatchError, NoSuchTokenError, PinSourceError, UriError
from tokens.group.breaker import PROBE_SECONDS
from tokens.group.key_group import KeyGroup, PublicKey, make_group_error
from tokens.group.member import Member, MemberAccess
from tokens.group.pool import Check, MemberPool, Mode
from tokens.keys import PrivateKey, private_key
from tokens.opening import find_module, open_key
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource, parse_pin_source, resolve_pin_source
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_token
from tokens.uri import Pkcs11Uri


@dataclass(frozen=True)
class UriMember:
    """A member that is opened by its URI. `options` are the keyword arguments of `tokens.open_key`."""

    uri: Pkcs11Uri
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The token's label or serial number."""
        return self.uri.token or self.uri.serial or str(self.uri)

    @property
    def pin(self) -> PinSource | None:
        """The source of its PIN; None for one that cannot be used, which is reported when the key is opened."""
        try:
            return parse_pin_source(self.uri.pin_source) if self.uri.pin_source else self._other_pin
        except PinSourceError:
            return None

    @property
    def _other_pin(self) -> PinSource | None:
        return resolve_pin_source(self.options.get("pin"))

    @property
    def memory(self) -> RefusalMemory:
        """The record of refused PINs."""
        return self.options.get("memory") or RefusalMemory()

    def find_token(self) -> TokenInfo:
        """Return the token. Presents no PIN."""
        names = ("module", "init_string", "manager", "deadlines", "isolation")
        options: dict[str, Any] = {name: self.options[name] for name in names if name in self.options}
        return find_member_token(find_module(self.uri, **options), self.uri)

    def open_key(self) -> PrivateKey:
        """Log in and open the key."""
        return open_key(self.uri, **self.options)


class _Nobody:
    """No user of a module."""

    def is_alive(self) -> bool:
        """Return False: it has no sessions."""
        return False


def find_member_token(module: Module, uri: Pkcs11Uri) -> TokenInfo:
    """Return the token of a member; initialise the module again if it does not list the token and nobody uses it.

    p11-kit's client that was initialised while its server was away lists no token until then. Raises as `find_token`.
    """
    epoch = module.epoch
    try:
        return find_token(module, uri)
    except NoSuchTokenError:
        if module.is_used_by_others(_Nobody()):
            raise
    module.reinitialise(epoch)
    return find_token(module, uri)


def open_key_group(
    members: Sequence[str | Pkcs11Uri | MemberAccess],
    *,
    name: str = "",
    mode: Mode | str = Mode.FAILOVER,
    probe_seconds: float = PROBE_SECONDS,
    accepts: Callable[[PublicKey], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    background: bool = True,
    **options: Any,
) -> PrivateKey:
    """Open one private key, of which each of several PKCS#11 tokens holds a copy.

    `members` are the `pkcs11:` URIs of the key on each token, in the order in which they are used. `mode` is
    "failover", which uses the first one that works, or "balance", which uses the one with the fewest operations in
    progress. A token that fails is used again after a probe, which is made every `probe_seconds`. `name` is used in
    messages. `accepts` returns whether a public key is the wanted one; without it, that of the first token which opens
    is. `options` are those of `tokens.open_key`, for all tokens. With `background` False no probe is made by itself.

    The key opens if at least one token does. A token with another public key, or one that refuses its PIN, is not used
    until the key is opened again. Raises the classes of `tokens.errors`, and ValueError for fewer than two members.
    """
    accesses = [_parse_member(member, options) for member in members]
    if len(accesses) < 2:
        raise ValueError("A key group has at least two members.")
    pool = MemberPool(
        name or "the key group",
        accesses,
        Mode(mode),
        probe_seconds=probe_seconds,
        clock=clock,
        background=background,
        check=check_same_key(accepts),
    )
    return open_copies(pool)


def open_copies(pool: MemberPool) -> PrivateKey:
    """Open the members of a pool, and return their key. Raises `TokenError` if none of them opens."""
    try:
        pool.open()
        key = next((member.key for member in pool.members if member.key is not None), None)
        if key is None:
            raise make_group_error(pool.name, [], pool.members)
        return private_key(KeyGroup(pool, pool.members, key.device.public_key))
    except BaseException:
        pool.close()
        raise


def check_same_key(accepts: Callable[[PublicKey], bool] | None = None) -> Check:
    """Return the check of a group of copies: `accepts` decides which key is wanted, or else the first that opens."""
    return _SameKey(accepts)


class _SameKey:
    """Check that every member of a group holds one key: the first that opens decides, unless `accepts` does."""

    def __init__(self, accepts: Callable[[PublicKey], bool] | None) -> None:
        self._accepts = accepts
        self._first: tuple[str, PublicKey] | None = None

    def __call__(self, member: Member, key: PrivateKey) -> None:
        public_key = key.device.public_key
        what = f"Key {key.device.description}"
        if self._accepts is not None:
            if not self._accepts(public_key):
                raise KeyMismatchError(f"{what} is not the key that the certificate is for.")
            return
        if self._first is None:
            self._first = member.name, public_key
        elif self._first[1] != public_key:
            raise KeyMismatchError(f"{what} is another key than that on {self._first[0]}: their public keys differ.")


def _parse_member(member: str | Pkcs11Uri | MemberAccess, options: Mapping[str, Any]) -> MemberAccess:
    if isinstance(member, str):
        if member.lower().startswith("card:"):
            raise UriError(f"'{member}' is a smart card; a key group is of PKCS#11 tokens.")
        member = Pkcs11Uri.parse(member)
    return UriMember(member, options) if isinstance(member, Pkcs11Uri) else member
