"""A module in a process of its own: the same calls, made over a socket.

The process is started for the first job. It is ended when a call of it takes longer than it may, and may end by itself
when the module crashes. The next job starts another one, which has a new epoch: the connection to the token then logs
in again. Processes that end soon after their start are started again less often, so that a device which hangs is not
logged in to without a pause.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pkcs11 import exceptions as p11

from tokens.deadlines import CallDeadlines
from tokens.errors import (
    Facts,
    ModuleEndedError,
    ModuleError,
    Reason,
    TokenError,
    TokenLostError,
    TokenTimeoutError,
    fresh_copy,
)
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.calls.return_values import name_of
from tokens.pkcs11.isolation.messages import LOAD, USE_DEADLINES
from tokens.pkcs11.isolation.process import START_TIMEOUT, ModuleProcess, end_processes
from tokens.pkcs11.module import ONE_CALL_AT_A_TIME, find_module_file
from tokens.pkcs11.module_interface import Module
from tokens.pkcs11.start_failures import likely_causes
from tokens.process import forking

T = TypeVar("T")

SETTLED = 30.0
"""Seconds after which a process counts as one that works."""

LONGEST_PAUSE = 5.0
"""The most seconds until a process is started again."""

_SESSIONS = 32
"""The bits of a session number that count within one process; the epoch is above them."""


class IsolatedModule(Module):
    """A module whose calls are made in a process of its own, which serves one token."""

    def __init__(self, path: Path, init_string: str | None = None) -> None:
        super().__init__(path.absolute(), init_string)
        calls = _RemoteCalls(self)
        self.cryptoki = _RemoteCryptoki(0, calls)
        self.queries = Queries(self.cryptoki)
        self._process: ModuleProcess | None = None
        self._starting: ModuleProcess | None = None
        self._changing = forking.LockAcrossForks()
        self._deadlines: dict[int | None, CallDeadlines] = {}
        self._pause = _Pause(self.path)
        forking.register(self)

    @property
    def is_isolated(self) -> bool:
        """Whether it runs in a process of its own: yes."""
        return True

    @property
    def is_fenced(self) -> bool:
        """Whether nothing of the module is called, because a call has not returned: never."""
        return False

    def check_answers(self, slot: int) -> None:
        """Raise `TokenLostError` soon after a process was ended because its token did not answer."""
        process = self._process
        if process is not None and isinstance(process.reason, TokenTimeoutError) and process.age < LONGEST_PAUSE:
            raise fresh_copy(process.reason)
        self._pause.check()

    @property
    def pid(self) -> int | None:
        """The process id, if a process runs."""
        process = self._process
        return None if process is None or process.reason is not None else process.pid

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job in the current thread. No call of it returns late, since it ends with its process."""
        return job()

    def call(self, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Make a call in the process. Raises `ModuleEndedError` if there is none."""
        process = self._process
        if process is None:
            raise ModuleEndedError(
                f"No process of the PKCS#11 module {self.path} runs.", facts=Facts(reason=Reason.NOT_CALLED)
            )
        return process.call(method, arguments, options)

    def use_deadlines(self, slot: int | None, deadlines: CallDeadlines) -> None:
        """Use these deadlines for the token in a slot, in this process of the module and in later ones.

        For None they are those of calls that are for no token, or for one without deadlines of its own.
        """
        if self._deadlines.get(slot) != deadlines:
            self._deadlines[slot] = deadlines
            if self.pid is not None:
                with contextlib.suppress(TokenLostError):  # the next process is told when it starts
                    self.call(USE_DEADLINES, (slot,), dataclasses.asdict(deadlines))

    def close_session(self, session: int, epoch: int) -> None:
        """Close a session of an epoch. Never raises."""
        if self.epoch == epoch and self.pid is not None:
            try:
                self.queries.close_session(session)
            except (p11.PKCS11Error, TokenError):
                return  # its process has ended, and the session with it

    def ready(self) -> int:
        """Return the current epoch; start a process first if none runs.

        Raises `ModuleError` if the module cannot be loaded and initialised, and `TokenLostError` during the pause
        after processes that ended soon.
        """
        process = self._process
        if process is None or process.reason is not None:
            with self._changing:
                self._start()
        return self.epoch

    def reinitialise(self, seen: int) -> None:
        """Start another process, once for all threads that lost the module in epoch `seen`. Raises as `ready`."""
        with self._changing:
            if self.epoch == seen:
                self._end(ModuleEndedError(f"The PKCS#11 module {self.path} was initialised again."))
            self._start()

    def begin_to_close(self) -> None:
        """Tell the process to end, also one that is being started; see `close_modules`."""
        for process in (self._starting, self._process):
            if process is not None:
                process.begin_to_end(TokenLostError(f"The PKCS#11 module {self.path} was closed."))

    def close(self) -> None:
        """End the process. The next job would start another one."""
        self.begin_to_close()
        with self._changing:
            if self._process is not None:
                end_processes([self._process])
                self._process = None
                self.epoch += 1

    def before_fork(self) -> None:
        """Do nothing: the parent's process of the module is none of a child's."""

    def after_fork_in_parent(self) -> None:
        """Do nothing: `before_fork` changed nothing."""

    def after_fork_in_child(self) -> None:
        """Leave the process to the parent; the next job starts one for this process."""
        # One that is being started too: this process would end it when it exits.
        for process in (self._starting, self._process):
            if process is not None:
                process.forget()
        self._starting = self._process = None
        self.epoch += 1  # so that no number of a session is used twice

    # -- the process ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start a process, unless one runs."""
        ended = self._process
        if ended is not None:
            if ended.reason is None:
                return
            self._pause.record_end(ended)
            self._process = None
            self.epoch += 1
        self._pause.check()
        file, _ = find_module_file(self.path)
        process = ModuleProcess(self.path, (self.epoch << _SESSIONS) + 1, one_at_a_time=file.name in ONE_CALL_AT_A_TIME)
        self._starting = process
        try:
            self._load(process, file)
        except BaseException as error:
            end_processes([process])
            self._process = None
            if isinstance(error, TokenLostError):
                self._pause.record_end(process, has_worked=False)
            raise
        finally:
            self._starting = None
        self._process = process

    def _load(self, process: ModuleProcess, file: Path) -> None:
        try:
            process.call(LOAD, (str(file),), {}, silence=START_TIMEOUT)
        except ModuleEndedError as error:
            raise ModuleError(
                f"The PKCS#11 module {self.path} could not be loaded in a process of its own. {error.message}"
            ) from error
        for slot, deadlines in self._deadlines.items():
            process.call(USE_DEADLINES, (slot,), dataclasses.asdict(deadlines))
        rv = process.call(Cryptoki.initialize.__qualname__, (self.init_string,), {})
        if rv not in (cryptoki.OK, cryptoki.CRYPTOKI_ALREADY_INITIALIZED):
            raise ModuleError(
                f"The PKCS#11 module {self.path} could not be initialised ({name_of(rv)}). "
                f"{likely_causes(self.path, rv, self.init_string)}"
            )
        self._process = process
        self._read_data()

    def _end(self, reason: TokenError) -> None:
        process = self._process
        if process is not None:
            if process.reason is not None:
                self._pause.record_end(process)
            end_processes([process], reason)
            self._process = None
            self.epoch += 1


def close_modules(modules: Iterable[Module]) -> None:
    """End the processes of those modules that are isolated, all at the same time."""
    isolated = [module for module in modules if isinstance(module, IsolatedModule)]
    for module in isolated:
        module.begin_to_close()
    for module in isolated:
        module.close()


class _Pause:
    """The pause before a process is started again. There is none after the first one that ended."""

    def __init__(self, module: Path) -> None:
        self._module = module
        self._ends = 0
        self._until = 0.0
        self._reason: TokenError | None = None

    def record_end(self, process: ModuleProcess, *, has_worked: bool = True) -> None:
        """Record a process that ended by itself, or that was killed; there is a pause at once if it never worked."""
        self._ends = 1 if process.lifetime >= SETTLED else self._ends + 1
        if not has_worked:
            self._ends = max(self._ends, 2)
        self._reason = process.reason
        pause = min(LONGEST_PAUSE, 2.0 ** (self._ends - 2)) if self._ends > 1 else 0.0
        self._until = time.monotonic() + pause

    def check(self) -> None:
        """Raise during the pause."""
        left = self._until - time.monotonic()
        if left > 0 and self._reason is not None:
            kind = TokenTimeoutError if isinstance(self._reason, TokenTimeoutError) else TokenLostError
            raise kind(
                f"The PKCS#11 module {self._module} is started again in {left:.1f} seconds: {self._reason.message}",
                remedy=self._reason.remedy,
                facts=Facts(reason=Reason.NOT_CALLED),
            )


class _RemoteCalls:
    """Carries out the calls in the process of the module. Takes the place of `CallThreads`."""

    is_here = False

    def __init__(self, module: IsolatedModule) -> None:
        self._module = module

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job in the current thread."""
        return job()

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method, and wipe the PINs among its arguments."""
        try:
            result: T = self._module.call(method.__qualname__, arguments, options)
            return result
        finally:
            for argument in arguments:
                for pin in argument if isinstance(argument, list) else ():
                    if isinstance(pin, bytearray):
                        pin[:] = bytes(len(pin))

    def when_answering(self, slot: int | None, action: Callable[[], None]) -> None:
        """Call `action` now: no call is late."""
        action()

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Raise NotImplementedError: no call is made in this process."""
        raise NotImplementedError

    def end_call(self) -> None:
        """Raise NotImplementedError: no call is made in this process."""
        raise NotImplementedError


class _RemoteCryptoki(Cryptoki):
    def call(self, function: Function, *arguments: Any, awaits_person: bool = False, slot: int | None = None) -> int:
        """Raise NotImplementedError: arguments of C have no meaning in another process."""
        raise NotImplementedError
