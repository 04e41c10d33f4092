"""The mechanisms of a token and their uses (CK_MECHANISM_INFO), each queried once and only when needed.

A token lists dozens of mechanisms, and each query is a call. Therefore only the candidates of an operation are queried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Set

from pkcs11 import Mechanism, MechanismFlag
from pkcs11 import exceptions as p11

from tokens.pkcs11.calls.faults import is_loss, name
from tokens.pkcs11.calls.queries import Queries

log = logging.getLogger(__name__)

Answer = list[int]
Ask = Callable[[Callable[[Queries, int], Answer]], Answer]
"""Runs a query: it is called with the module's calls and the token's slot."""

_ANY_USE = MechanismFlag.SIGN | MechanismFlag.DECRYPT | MechanismFlag.GENERATE_KEY_PAIR


class Capabilities:
    """The mechanisms of one token."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._listed: frozenset[int] | None = None
        self._uses: dict[Mechanism, int] = {}  # numbers, since MechanismFlag is slow

    @property
    def listed(self) -> frozenset[int]:
        """Return the token's mechanisms (C_GetMechanismList)."""
        if self._listed is None:
            self._listed = frozenset(self._ask(lambda queries, slot: queries.mechanisms(slot)))
        return self._listed

    def serves(self, mechanism: Mechanism, use: int) -> bool:
        """Return whether the token lists the mechanism for this use.

        A listed mechanism without information counts as served; its first use shows whether it works.
        """
        if mechanism not in self.listed:
            return False
        if mechanism not in self._uses:
            (self._uses[mechanism],) = self._ask(lambda queries, slot: [int(_flags(queries, slot, mechanism))])
        return bool(use & self._uses[mechanism])


class Offered(Set[Mechanism]):
    """The mechanisms that a token lists for some uses, each queried when it is looked up."""

    def __init__(self, capabilities: Callable[[], Capabilities], uses: MechanismFlag) -> None:
        self._capabilities = capabilities
        self._uses = int(uses)
        self._known: dict[object, bool] = {}

    @classmethod
    def _from_iterable(cls, mechanisms: Iterable[Mechanism]) -> frozenset[Mechanism]:  # type: ignore[override]
        return frozenset(mechanisms)

    def __contains__(self, mechanism: object) -> bool:
        known = self._known.get(mechanism)
        if known is None:
            known = isinstance(mechanism, Mechanism) and self._capabilities().serves(mechanism, self._uses)
            self._known[mechanism] = known
        return known

    def __iter__(self) -> Iterator[Mechanism]:
        return (mechanism for mechanism in Mechanism if mechanism in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _flags(queries: Queries, slot: int, mechanism: Mechanism) -> int:
    try:
        return queries.mechanism_flags(slot, mechanism)
    except p11.MechanismInvalid:
        return 0  # p11-kit 0.24.1 lists mechanisms that it cannot describe
    except p11.PKCS11Error as error:
        if is_loss(error):
            raise
        log.warning("The token does not say what mechanism %s is for (%s); it is tried.", mechanism.name, name(error))
        return _ANY_USE
