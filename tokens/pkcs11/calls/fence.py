"""What must not be called because a call has not returned: one token of a module, or the whole module.

A call that its caller has left still runs in the module. Its token is not called again until it returns. If no other
token of the module answers either, the module itself hangs and is fenced: every call of it raises at once, until one of
the late calls returns. While any call is late, or its result is being delivered, nothing of the module is finalised or
initialised, and the process must not fork.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from tokens.errors import Facts, ModuleFencedError, Reason, TokenTimeoutError
from tokens.printable import format_seconds
from tokens.process import forking
from tokens.process.gate import Gate

log = logging.getLogger(__name__)

_REMEDY = (
    "Check the device and its connection. It is used again when that call returns; if it never does, restart the "
    "process."
)


@dataclass(frozen=True, eq=False)
class LateCall:
    """A call that its caller has left: its function, the slot of its token, and when it began (monotonic clock).

    The function is empty if the caller was interrupted before the job had made a call.
    """

    function: str
    slot: int | None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.began

    @property
    def spelled_seconds(self) -> str:
        """How long it has lasted, in whole seconds, for a sentence."""
        return format_seconds(round(self.seconds))


class Fence:
    """The late calls of one module."""

    def __init__(self, module: str, gate: Gate) -> None:
        self._module = module
        self.gate = gate
        """Where threads wait that are to be turned away."""
        self._changing = threading.Lock()
        self._late: dict[LateCall, None] = {}
        self._settling: dict[LateCall, None] = {}
        """Calls that have returned late, and whose results are being delivered."""
        self._fenced = False
        self._deferred: list[tuple[int | None, Callable[[], None]]] = []
        self.returned = 0
        """How many late calls have returned."""

    @property
    def late(self) -> tuple[LateCall, ...]:
        """The calls that have not returned, oldest first."""
        return tuple(self._late)

    @property
    def is_quiet(self) -> bool:
        """Whether no call is late, and no late result is being delivered."""
        return not self._late and not self._settling

    @property
    def is_fenced(self) -> bool:
        """Whether the whole module is fenced."""
        return self._fenced

    def check(self, slot: int | None = None) -> None:
        """Raise `ModuleFencedError` if the module is fenced, and `TokenTimeoutError` if the slot has a late call."""
        if not self._late:
            return
        if self._fenced:
            raise self._explain()
        for call in self.late:
            if slot is not None and call.slot == slot:
                raise TokenTimeoutError(
                    f"The token has not answered {call.function} for {call.spelled_seconds}, so it is not called "
                    "again.",
                    remedy=_REMEDY,
                    facts=Facts(reason=Reason.NOT_CALLED),
                )

    def check_quiet(self) -> None:
        """Raise `ModuleFencedError` unless the module `is_quiet`: it must not be finalised or initialised."""
        if not self.is_quiet:
            raise self._explain()

    def add(self, call: LateCall) -> None:
        """Record a call that its caller has left."""
        with self._changing:
            self._late[call] = None
            forking.refuse_forks(self, self._forbid_fork)

    def fence_module(self, call: LateCall) -> None:
        """Fence the whole module, unless the call has returned."""
        with self._changing:
            if call not in self._late or self._fenced:
                return
            self._fenced = True
            self.gate.refuse(self._explain)
        log.error("%s is not called any more, because %s has not returned from it.", self._module, call.function)

    def remove(self, call: LateCall) -> list[Callable[[], None]]:
        """Record that a late call has returned, and return the actions that were deferred until then.

        A module that has returned from a call answers again. So only the tokens of the other late calls stay fenced, or
        the whole module if one of these is for no token. `settle` is called when the result has been delivered.
        """
        with self._changing:
            if call not in self._late:
                return []
            del self._late[call]
            self.returned += 1
            self._settling[call] = None
            slots = {other.slot for other in self._late}
            if not slots or (None not in slots and not self.gate.serves_one_at_a_time):
                self._fenced = False
                self.gate.refuse(None)
            answered = [] if self._fenced else [one for one in self._deferred if not _is_hanging(one[0], slots)]
            self._deferred = [one for one in self._deferred if one not in answered]
        return [action for _, action in answered]

    def settle(self, call: LateCall) -> None:
        """Record that the result of a late call has been delivered."""
        with self._changing:
            self._settling.pop(call, None)
            if self.is_quiet:
                forking.allow_forks(self)

    def log_departure(self, call: LateCall) -> None:
        """Log that a caller has left. Nobody may wait for it: the log may be stuck."""
        if call.function:
            log.warning("%s has not returned from %s for %s.", self._module, call.function, call.spelled_seconds)

    def log_return(self, call: LateCall) -> None:
        """Log that a late call has returned, when nothing waits for it any more."""
        if call.function:
            log.warning("%s returned from %s after %s.", self._module, call.function, call.spelled_seconds)

    def defer(self, action: Callable[[], None], slot: int | None = None) -> bool:
        """Keep `action` until the token in a slot has no late call; return False if it has none.

        Without a slot, the action is kept until no call of the module is late.
        """
        with self._changing:
            is_kept = self._fenced or _is_hanging(slot, {call.slot for call in self._late})
            if is_kept:
                self._deferred.append((slot, action))
            return is_kept

    def forget(self) -> None:
        """Start without late calls in a forked child."""
        self._changing = threading.Lock()
        self._late, self._settling, self._fenced, self._deferred = {}, {}, False, []

    def _explain(self) -> ModuleFencedError:
        calls = self.late or tuple(self._settling)
        if not calls:
            return ModuleFencedError(f"The PKCS#11 module {self._module} is being used again.", remedy="Try again.")
        return ModuleFencedError(
            f"The PKCS#11 module {self._module} is not called, because {calls[0].function} has not returned from it "
            f"for {calls[0].spelled_seconds}.",
            remedy=_REMEDY,
        )

    def _forbid_fork(self) -> ModuleFencedError | None:
        calls = self.late or tuple(self._settling)
        if not calls:
            return None
        return ModuleFencedError(
            f"This process cannot fork now, because {calls[0].function} has not returned from the PKCS#11 module "
            f"{self._module}: the child would inherit its locks.",
            remedy="Start the other program with subprocess, or check the device and its connection.",
        )


def _is_hanging(slot: int | None, slots: Set[int | None]) -> bool:
    """Return whether a call of one of these slots may concern a slot; None is a call, or an action, of any."""
    return bool(slots) and (slot is None or slot in slots or None in slots)
