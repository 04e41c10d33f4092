"""What must not be called because a call has not returned: one token of a module, or the whole module.

A call that its caller has left still runs in the module. Its token is not called again until it returns. If no other
token of the module answers either, the module itself hangs and is fenced: every call of it raises at once. While any
call is late, nothing of the module is finalised or initialised, and the process must not fork.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tokens.errors import Facts, ModuleFencedError, Reason, TokenTimeoutError
from tokens.process import forking
from tokens.process.gate import Gate

log = logging.getLogger(__name__)

_REMEDY = "Check the device and its connection. It is used again when that call returns; otherwise restart the process."


@dataclass(frozen=True, eq=False)
class LateCall:
    """A call that its caller has left: its function, the slot of its token, and when it began (monotonic clock)."""

    function: str
    slot: int | None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.began


class Fence:
    """The late calls of one module."""

    def __init__(self, module: str, gate: Gate) -> None:
        self._module = module
        self.gate = gate
        """Where threads wait that are to be turned away."""
        self._changing = threading.Lock()
        self._late: dict[LateCall, None] = {}
        self._fenced = False
        self._deferred: list[Callable[[], None]] = []

    @property
    def late(self) -> tuple[LateCall, ...]:
        """The calls that have not returned, oldest first."""
        return tuple(self._late)

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
                    f"The token has not answered {call.function} for {call.seconds:.0f} seconds, so it is not called "
                    "again.",
                    remedy=_REMEDY,
                    facts=Facts(reason=Reason.NOT_CALLED),
                )

    def check_quiet(self) -> None:
        """Raise `ModuleFencedError` if any call is late: the module must not be finalised or initialised."""
        if self._late:
            raise self._explain()

    def add(self, call: LateCall) -> None:
        """Record a call that its caller has left."""
        with self._changing:
            self._late[call] = None
            forking.refuse_forks(self, self._forbid_fork)
        log.warning("%s has not returned from %s for %.0f seconds.", self._module, call.function, call.seconds)

    def fence_module(self, call: LateCall) -> None:
        """Fence the whole module, unless the call has returned."""
        with self._changing:
            if call not in self._late or self._fenced:
                return
            self._fenced = True
            self.gate.refuse(self._explain)
        log.error("%s is fenced, because %s has not returned.", self._module, call.function)

    def remove(self, call: LateCall) -> None:
        """Record that a late call has returned. After the last one the module is used again."""
        with self._changing:
            self._late.pop(call, None)
            if self._late:
                return
            self._fenced = False
            deferred, self._deferred = self._deferred, []
            self.gate.refuse(None)
            forking.allow_forks(self)
        log.warning("%s returned from %s after %.0f seconds.", self._module, call.function, call.seconds)
        for action in deferred:
            action()

    def defer(self, action: Callable[[], None]) -> bool:
        """Call `action` when the last late call has returned; return False if none is late."""
        with self._changing:
            if self._late:
                self._deferred.append(action)
            return bool(self._late)

    def forget(self) -> None:
        """Start without late calls in a forked child."""
        self._changing = threading.Lock()
        self._late, self._fenced, self._deferred = {}, False, []

    def _explain(self) -> ModuleFencedError:
        calls = self.late
        if not calls:
            return ModuleFencedError(f"The PKCS#11 module {self._module} is being used again.", remedy="Try again.")
        return ModuleFencedError(
            f"The PKCS#11 module {self._module} is not called, because {calls[0].function} has not returned from it "
            f"for {calls[0].seconds:.0f} seconds.",
            remedy=_REMEDY,
        )

    def _forbid_fork(self) -> ModuleFencedError | None:
        calls = self.late
        if not calls:
            return None
        return ModuleFencedError(
            f"This process cannot fork now, because {calls[0].function} has not returned from the PKCS#11 module "
            f"{self._module}: the child would inherit its locks.",
            remedy="Start the other program with subprocess, or check the device and its connection.",
        )
