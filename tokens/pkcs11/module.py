"""The PKCS#11 modules (.so) of a process: initialised for their first owner, finalised with their last.

`Module` initialises with CKF_OS_LOCKING_OK, without which two threads crash SoftHSM, and passes a parameter string to
the modules that need one (NSS softokn). Its calls are made in threads of its own, each with a deadline; see
`tokens.pkcs11.calls.call_threads`.

A forked child initialises the module again on first use, since it must not use the parent's login. If the module
reports there that it is initialised already, it is finalised first, but only if that does not harm the parent
(`FINALISED_IN_CHILD`). Owners of sessions compare `epoch`, which changes with every initialisation.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import Facts, ModuleError, ModuleFencedError, Reason, TokenError, TokenLostError
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.call_threads import CallThreads
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.faults import is_loss
from tokens.pkcs11.calls.fence import Fence
from tokens.pkcs11.calls.loading import load_function_list
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.calls.return_values import name_of
from tokens.pkcs11.module_interface import Module as Module
from tokens.pkcs11.start_failures import likely_causes
from tokens.process import forking
from tokens.process.at_once import call_at_once
from tokens.process.gate import Gate, GateBusyError

log = logging.getLogger(__name__)

T = TypeVar("T")

QUIET_TIMEOUT = 5.0
"""Seconds to wait for calls in progress before a fork or a re-initialisation."""

EXIT_TIMEOUT = 0.5
"""Seconds to wait for calls in progress before the end of the process."""

_CALLS_OF_A_SEARCH = ("C_GetTokenInfo", "C_GetSlotInfo")
"""Calls that ask a slot for its token."""

ONE_CALL_AT_A_TIME = ("p11-kit-client.so",)
"""Modules that serve only one call at a time.

When its server dies, the client of p11-kit 0.24.1 wakes only the thread that is reading the connection. Other threads
that wait for an answer block forever.
"""


FINALISED_IN_CHILD = {"libsofthsm2.so": "SoftHSM", "libsoftokn3.so": "Mozilla Foundation"}
"""Modules, by file name and CK_INFO's manufacturerID, whose C_Finalize in a forked child does not harm the parent.

Tested with SoftHSM 2.6.1 and NSS 3.87. tpm2-pkcs11 1.9.0 ends the parent's login, and a module that connects to its
device (pkcs11-proxy) loses the connection to the child. Both the file name and the manufacturer must match, because a
proxy reports the manufacturer of the module behind it.
"""


class LoadedModule(Module):
    """One module that is loaded in this process, which only `load_module` creates.

    It is loaded once and stays loaded. It is initialised while it has owners: device managers, or the process.
    """

    def __init__(
        self,
        path: Path,
        file: Path,
        init_string: str | None,
        deadlines: CallDeadlines = DEFAULT_DEADLINES,
        starts: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`starts` is called with True before C_Initialize, and with False when it has returned, perhaps too late."""
        super().__init__(path, init_string)
        self._file = file
        self._owners: weakref.WeakSet[object] = weakref.WeakSet()
        self._finalised = False
        self._initialised_here = False
        self._inherited = False
        self._quiet_for_fork = False
        self._unusable = ""
        function_list = load_function_list(file)
        self._fence = Fence(str(path), Gate())
        self._threads = CallThreads(self._fence, self._other_token_answers)
        self.cryptoki = Cryptoki(function_list, self._threads)
        self.cryptoki.extend_deadlines(deadlines)
        self.queries = Queries(self.cryptoki)
        self._start(starts)
        self._fence.gate = self._new_gate()
        self._read_data()
        if not self._initialised_here:
            log.warning("%s was initialised by other code of this process: its calls are made one at a time.", path)
        forking.register(self)
        atexit.register(self._finalise_at_exit)

    @property
    def is_isolated(self) -> bool:
        """Whether it runs in a process of its own: no."""
        return False

    @property
    def is_fenced(self) -> bool:
        """Whether nothing of the module is called, because a call has not returned."""
        return self._fence.is_fenced

    def check_answers(self, slot: int) -> None:
        """Raise `TokenLostError` while a call of the token in a slot, or one that fences the module, is late."""
        self._fence.check(slot)

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job that makes several calls, in one call thread; see `CallThreads.run`.

        The calls of a job are not interrupted by a new initialisation.
        """
        return self._threads.run(job, late)

    def use_deadlines(self, slot: int, deadlines: CallDeadlines) -> None:
        """Use these deadlines for the token in a slot."""
        self.cryptoki.use_deadlines(slot, deadlines)

    def close_session(self, session: int, epoch: int) -> None:
        """Close a session of an epoch. Never raises. If its token has a late call, the session is closed afterwards."""
        slot = self.cryptoki.slot_of(session)

        def close() -> None:
            if self.epoch != epoch:
                return
            try:
                self.queries.close_session(session)
            except p11.PKCS11Error:
                return
            except TokenError as error:
                # A call of the token was left just now. A module that is closed, or whose gate stays shut, has no
                # session to release.
                if _was_turned_away(error):
                    self._fence.defer(close, slot)

        self._threads.when_answering(slot, close)

    def ready(self) -> int:
        """Return the current epoch; initialise the module first in a forked child. Call it before a job.

        Raises `TokenLostError` in a child that was forked during a call that did not return, since the module's locks
        stay held there, and in a child whose module cannot be initialised again without harm to the parent.
        """
        if self._finalised:
            raise TokenLostError(f"The PKCS#11 module {self.path} was closed with its last owner.")
        if self._inherited:
            self._run_alone(self._initialise_in_child)
        return self.epoch

    def add_owner(self, owner: object, init_string: str | None) -> None:
        """Keep the module initialised for `owner` until `remove_owner`. Raises `ModuleError`."""
        if self._finalised:
            self.init_string = init_string
            self._initialise()
            self.epoch += 1
            self._finalised = self._inherited = False
        elif init_string is not None and init_string != self.init_string:
            raise ModuleError(f"The PKCS#11 module {self.path} is already in use here with another init string.")
        self._owners.add(owner)

    def remove_owner(self, owner: object) -> None:
        """Finalise the module if `owner` was its last one.

        The module stays initialised if a call has not returned, or if other code of this process initialised it.
        """
        if owner not in self._owners:
            return
        self._owners.discard(owner)
        if self._owners or not self._initialised_here or self._inherited:
            return
        try:
            finalised = self._threads.run_alone(self._finalise, QUIET_TIMEOUT)
        except (GateBusyError, TokenLostError):
            log.warning("%s was not finalised: a call has not returned from it.", self.path)
            return
        if finalised:
            self._finalised = True
            self._initialised_here = False
            self._threads.close()

    def reinitialise(self, seen: int) -> None:
        """Initialise the module again (C_Finalize, C_Initialize), once for all threads that lost it in epoch `seen`.

        Ends every session of this module in this process. Raises `TokenLostError` if a call does not return.
        """

        def initialise_again() -> None:
            if self.epoch != seen:
                return
            stays = self._initialised_here and not self._finalise()
            self.epoch += 1  # even if the rest fails: no earlier session works any more
            self._initialise(stays_ours=stays)
            if not self._initialised_here:
                raise TokenLostError(
                    f"The PKCS#11 module {self.path} was initialised by other code of this process, and only that "
                    "code may initialise it again.",
                    remedy="Restart this program.",
                )

        self._run_alone(initialise_again)

    def before_fork(self) -> None:
        """Wait until no thread is inside the module, whose locks would otherwise stay locked in the child."""
        self._quiet_for_fork = self._fence.gate.close(QUIET_TIMEOUT)

    def after_fork_in_parent(self) -> None:
        """Let the threads continue."""
        if self._quiet_for_fork:
            self._fence.gate.open()

    def after_fork_in_child(self) -> None:
        """Use a new gate, and initialise the module again on its first use."""
        self._fence.forget()
        self._threads.forget()
        self._fence.gate = self._new_gate()
        self._inherited = True
        if not self._quiet_for_fork:
            self._unusable = (
                f"This process was forked during a call of the PKCS#11 module {self.path} that did not return, so it "
                "cannot use the module. Check the device and its connection, then restart the process."
            )

    def _start(self, starts: Callable[[bool], None]) -> None:
        def withdraw(_: object) -> None:
            # Nobody has this module: its caller left before it was there.
            if self._initialised_here:
                self.cryptoki.finalize()
            starts(False)

        starts(True)
        try:
            self.run(self._initialise, withdraw)
        except BaseException:
            if not self._threads.has_late_calls:
                starts(False)
            raise
        starts(False)

    def _new_gate(self) -> Gate:
        # Other code may have initialised the module for a single thread.
        careful = self._file.name in ONE_CALL_AT_A_TIME or not self._initialised_here
        return Gate(one_at_a_time=careful)

    def _other_token_answers(self, slot: int) -> bool:
        """Return whether a token answers other than that in a slot. May take as long as a call."""
        in_use = sorted(self.cryptoki.slots_in_use() - {slot})
        if any(call_at_once(self._answers_in_session, in_use)):
            return True
        if not any(call.slot == slot and call.function in _CALLS_OF_A_SEARCH for call in self._fence.late):
            return False
        # A search has asked this slot. Perhaps no token is in use yet, so the other slots are asked the same.
        others = [other for other in self.queries.slots() if other != slot and other not in in_use]
        return any(call_at_once(self._reports_token, others))

    def _answers_in_session(self, slot: int) -> bool:
        """Return whether a token answers in a session of its own: the others may be in use."""
        epoch = self.epoch

        def ask() -> None:
            session = self.queries.open_session(slot)
            try:
                self.queries.check_alive(session)
            finally:
                self.close_session(session, epoch)

        try:
            self.run(ask)
        except p11.PKCS11Error as error:
            return not is_loss(error)
        except TokenError:
            return False
        return True

    def _reports_token(self, slot: int) -> bool:
        """Return whether an initialised token in a slot reports its properties."""
        try:
            return bool(self.queries.token(slot).flags & TokenFlag.TOKEN_INITIALIZED)
        except (p11.PKCS11Error, TokenError):
            return False

    def _run_alone(self, job: Callable[[], T]) -> T:
        try:
            return self._threads.run_alone(job, QUIET_TIMEOUT)
        except GateBusyError as error:
            raise TokenLostError(
                f"The PKCS#11 module {self.path} does not answer: a call has been inside it for more than "
                f"{QUIET_TIMEOUT:.0f} seconds.",
                remedy="Check the device and its connection, then restart this program.",
            ) from error

    def _initialise_in_child(self) -> None:
        if not self._inherited:
            return
        if self._unusable:
            raise TokenLostError(self._unusable)
        self._initialise()
        if not self._initialised_here:
            if FINALISED_IN_CHILD.get(self._file.name) != self.manufacturer:
                self._unusable = (
                    f"The PKCS#11 module {self.path} cannot be used in this process, which was forked from one "
                    "that uses it: the module cannot be initialised again here, and finalising it first could end "
                    "the login of the other process. Start this process without a fork (multiprocessing: spawn), "
                    "or fork before the first key is opened."
                )
                raise TokenLostError(self._unusable)
            self.cryptoki.finalize()
            self._initialise()
        self.epoch += 1
        self._inherited = False

    def _finalise(self) -> bool:
        """Finalise the module; return False if it refuses, and so stays initialised."""
        rv = self.cryptoki.finalize()
        if rv not in (cryptoki.OK, cryptoki.CRYPTOKI_NOT_INITIALIZED):
            log.warning("%s was not finalised: C_Finalize returned %s.", self.path, name_of(rv))
            return False
        return True

    def _initialise(self, *, stays_ours: bool = False) -> None:
        """Initialise the module. `stays_ours` is whether it may be initialised already because C_Finalize failed."""
        rv = self.cryptoki.initialize(self.init_string)
        if rv not in (cryptoki.OK, cryptoki.CRYPTOKI_ALREADY_INITIALIZED):
            raise ModuleError(
                f"The PKCS#11 module {self.path} could not be initialised ({name_of(rv)}). "
                f"{likely_causes(self.path, rv, self.init_string)}"
            )
        # Other code of this process initialised the module already, and finalises it.
        self._initialised_here = rv == cryptoki.OK or stays_ours

    def _finalise_at_exit(self) -> None:
        if self._initialised_here and not self._inherited:
            with contextlib.suppress(GateBusyError, TokenError):
                self._threads.run_alone(self.cryptoki.finalize, EXIT_TIMEOUT)
        self._fence.gate.finish()


def _was_turned_away(error: TokenError) -> bool:
    """Return whether a call was not made because another one is late."""
    is_refused = error.facts is not None and error.facts.reason is Reason.NOT_CALLED
    return is_refused or isinstance(error, ModuleFencedError)


class _ModuleTable:
    """The modules of this process, by device and inode: one file under two names is one module.

    The table is itself the owner of those that stay initialised until the process ends.
    """

    def __init__(self) -> None:
        self.modules: dict[tuple[int, int], LoadedModule] = {}
        self.starting: set[tuple[int, int]] = set()
        """Those whose first C_Initialize has not returned: it must not be called a second time meanwhile."""
        self.changing = forking.LockAcrossForks()

    def note_start(self, place: tuple[int, int], starts: bool) -> None:
        """Note that C_Initialize is called, or has returned."""
        (self.starting.add if starts else self.starting.discard)(place)


_table = _ModuleTable()


def load_module(
    path: Path,
    init_string: str | None = None,
    owner: object | None = None,
    deadlines: CallDeadlines = DEFAULT_DEADLINES,
) -> LoadedModule:
    """Return the module at `path`, loaded on first use and initialised for its first owner.

    `owner` keeps it initialised until `release_modules`; without one it stays so until the process ends. `deadlines`
    are those of a token that is searched for: a call that is for no token may take as long. Raises `ModuleError`: no
    such file, not a PKCS#11 module, or requested with two different init strings.
    """
    real, status = find_module_file(path)
    place = status.st_dev, status.st_ino
    with _table.changing:
        module = _table.modules.get(place)
        if module is None:
            if place in _table.starting:
                raise ModuleFencedError(
                    f"The PKCS#11 module {path} is not called, because C_Initialize has not returned from it.",
                    remedy="Check the device and its connection. It is used when that call returns.",
                )
            starts = functools.partial(_table.note_start, place)
            module = _table.modules[place] = LoadedModule(path.absolute(), real, init_string, deadlines, starts)
        else:
            module.cryptoki.extend_deadlines(deadlines)
        module.add_owner(_table if owner is None else owner, init_string)
    return module


def find_module_file(path: Path) -> tuple[Path, os.stat_result]:
    """Return the file to which a path leads. Raises `ModuleError` if there is none."""
    try:
        real = path.resolve(strict=True)
        return real, real.stat()
    except OSError as error:
        raise ModuleError(
            f"There is no PKCS#11 module at {path} ({error.strerror}).",
            remedy="Use the path of the .so of your HSM, for example /usr/lib/softhsm/libsofthsm2.so.",
            facts=Facts(reason=Reason.MODULE_NOT_FOUND, path=str(path)),
        ) from error


def release_modules(owner: object) -> None:
    """Finalise every module of which `owner` is the last owner."""
    with _table.changing:
        for module in _table.modules.values():
            module.remove_owner(owner)
