"""The members of a key group: their order, their breakers, and the thread that probes members that failed.

A member that fails does not delay callers: they use another member, and a daemon thread probes the failed one, or opens
it if it was down when the group was opened. Only if no member works do callers use the failed ones themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from tokens.errors import MemberTwiceError, TokenError, TokenLostError, sentence_case
from tokens.events import FailedOver, OperationOutcome, Restored, emit
from tokens.events.bus import absorb_events
from tokens.group.breaker import PROBE_SECONDS, BreakerState
from tokens.group.member import Member, MemberAccess, is_excluding
from tokens.group.probe import probe_key
from tokens.group.reporting import is_failed_attempt
from tokens.keys import PrivateKey
from tokens.pins.companions import form_companions
from tokens.pkcs11.login.flags import device_name
from tokens.pkcs11.search import TokenInfo
from tokens.process.forking import LockAcrossForks, register

Check = Callable[[Member, PrivateKey], None]
"""Raises a `TokenError` for a key that may not be used in the group."""


class Mode(StrEnum):
    """Which of the members that work is used."""

    FAILOVER = "failover"
    """The first, in the order of the group."""
    BALANCE = "balance"
    """The one with the fewest operations in progress."""


class MemberPool:
    """The members of one group. Any thread may use it; `close` ends it.

    `name` is the group's, for messages and events. `clock` returns seconds that never go back. With `background` False
    no thread is started, and the caller calls `probe_due`.
    """

    def __init__(
        self,
        name: str,
        accesses: Sequence[MemberAccess],
        mode: Mode = Mode.FAILOVER,
        *,
        probe_seconds: float = PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
        check: Check = lambda member, key: None,
    ) -> None:
        self.name = name
        self.mode = mode
        self.members = tuple(Member(access, clock, probe_seconds) for access in accesses)
        self._clock = clock
        self._background = background
        self._check = check
        self._lock = LockAcrossForks()
        self._companions = form_companions()
        self._wake = threading.Event()
        self._prober: threading.Thread | None = None
        self._probing = LockAcrossForks()
        self._closed = False
        self._loss_is_logged = False
        register(self)

    # -- forks ------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the locks are free while the process forks, or new in the child."""

    def after_fork_in_parent(self) -> None:
        """Do nothing: `before_fork` changed nothing."""

    def after_fork_in_child(self) -> None:
        """Forget what the threads of the parent were doing, which do not exist here."""
        self._prober = None
        for member in self.members:
            member.outstanding = 0
            member.breaker.abandon_probe()

    # -- opening ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open each member in turn. One that fails is opened later by a probe; none of them raises.

        Each token is found first, so that no PIN is presented before the refusals that are recorded for the others are
        known: a value that one member refused is not presented to another.
        """
        failures: list[tuple[Member, TokenError]] = []
        for step in (self._find, self._open_key):
            for member in self.members:
                if any(failed is member for failed, _ in failures):
                    continue
                try:
                    step(member)
                except TokenError as error:
                    failures.append((member, error))
        # Recorded together, so that the events name the members that did open.
        with self._lock:
            for member, failure in failures:
                breaker = member.breaker
                breaker.record_fault(failure, breaker.generation, excludes=is_excluding(failure))
        self._report([(member, failure, member.state) for member, failure in failures])
        if len(failures) < len(self.members):
            self._start_prober()

    def open_member(self, member: Member) -> PrivateKey:
        """Return the key of a member, which is opened if it is not open yet. Raises `TokenError`."""
        if member.key is not None:
            return member.key
        with member.opening:
            if member.key is None:
                if member.token is None:
                    self._find(member)
                self._open_key(member)
        key = member.key
        if key is None:
            raise self._closed_error()
        return key

    def _find(self, member: Member) -> None:
        token = member.access.find_token()
        for other in self.members:
            if other is not member and other.token is not None and _is_same(other.token, token):
                raise MemberTwiceError(
                    f"{sentence_case(token.description)} is in {self.name} already, as {other.name}."
                )
        device, memory = device_name(token), member.access.memory
        self._companions.add(
            device.companion, token.description, member.access.pin, lambda pin: memory.has_refused(device, "user", pin)
        )
        member.token = token

    def _open_key(self, member: Member) -> None:
        key = member.access.open_key()
        try:
            self._check(member, key)
        except BaseException:
            key.close()
            raise
        with self._lock:
            if not self._closed:
                member.key = key
                return
        key.close()
        raise self._closed_error()

    def _closed_error(self) -> TokenLostError:
        return TokenLostError(f"{sentence_case(self.name)} was closed.")

    # -- use --------------------------------------------------------------------------------------------------

    def in_order(self, members: Sequence[Member]) -> Iterator[Member]:
        """Yield the members to use one after the other, until one of them succeeds.

        First those that work, in the order of the mode; then, since none of them succeeded, those that did not work.
        """
        left = list(members)
        while working := [member for member in left if member.is_working]:
            chosen = working[0]
            if self.mode is Mode.BALANCE:
                chosen = min(working, key=lambda member: member.outstanding)
            left.remove(chosen)
            yield chosen
        yield from (member for member in left if not member.is_excluded)

    def begin(self, member: Member) -> int:
        """Count an operation of a member as begun, and return the generation in which it began."""
        with self._lock:
            member.outstanding += 1
            return member.breaker.generation

    def end(self, member: Member) -> None:
        """Count an operation of a member as ended."""
        with self._lock:
            member.outstanding -= 1

    def record_success(self, member: Member, generation: int) -> None:
        """Record that a member carried out an operation that began in this generation."""
        if member.is_working:
            return
        with self._lock:
            seconds = member.breaker.record_success(generation)
        if seconds is not None:
            self._loss_is_logged = False
            serial, label = member.identify()
            emit(
                Restored(token_serial=serial, token_label=label, group=self.name, member=member.name, duration=seconds)
            )

    def record_fault(self, member: Member, error: TokenError, generation: int) -> None:
        """Record that a member failed in an operation that began in this generation, and have it probed later."""
        with self.report_faults() as record_fault:
            record_fault(member, error, generation)

    @contextmanager
    def report_faults(self) -> Iterator[Callable[[Member, TokenError, int], None]]:
        """Yield a function that records faults as `record_fault` does. They are reported together, when the block ends.

        So an operation that every member fails reports the loss of the group, and not first that another one is used.
        """
        failures: list[tuple[Member, TokenError, BreakerState]] = []

        def record(member: Member, error: TokenError, generation: int) -> None:
            excludes = is_excluding(error)
            with self._lock:
                if member.breaker.record_fault(error, generation, excludes=excludes) and not self._closed:
                    failures.append((member, error, member.state))  # a probe may change it before the report
            self._start_prober()

        try:
            yield record
        finally:
            self._report(failures)

    def _report(self, failures: Sequence[tuple[Member, TokenError, BreakerState]]) -> None:
        """Emit an event for each member that failed. The loss of the last one is logged once, with all faults."""
        serving = tuple(one.name for one in self.members if one.is_working)
        faults = [(one.name, one.breaker.fault) for one in self.members]
        texts = () if serving else tuple(f"{name}: {fault.text}" for name, fault in faults if fault is not None)
        for member, error, state in failures:
            serial, label = member.identify()
            event = FailedOver(
                token_serial=serial,
                token_label=label,
                group=self.name,
                member=member.name,
                state=state.value,
                serving=serving,
                faults=texts,
                outcome=OperationOutcome.REFUSED if state is BreakerState.EXCLUDED else OperationOutcome.FAILED,
                reason=str(error),
            )
            emit(event, logged=bool(serving) or not self._loss_is_logged)
            self._loss_is_logged = not serving

    # -- probes -----------------------------------------------------------------------------------------------

    def probe_due(self) -> float | None:
        """Probe the members whose time has come, one after the other. Nobody is asked for a PIN.

        Returns the seconds until the next probe, or None if every member works or is excluded.
        """
        with self._probing:
            for member in self.members:
                with self._lock:
                    begun = not self._closed and _is_probed(member) and member.breaker.begin_probe()
                    generation = member.breaker.generation
                if begun:
                    self._probe(member, generation)
        with self._lock:
            return self._seconds_to_next_probe()

    def probe_all(self) -> None:
        """Probe every member now that is not excluded, those that work too."""
        with self._probing:
            for member in self.members:
                if not member.is_excluded:
                    self._probe(member, member.breaker.generation)

    def _probe(self, member: Member, generation: int) -> None:
        try:
            with absorb_events(is_failed_attempt):
                probe_key(self.open_member(member))
        except TokenError as error:
            self.record_fault(member, error, generation)
        except BaseException as error:
            self.record_fault(member, TokenError(f"The probe failed ({type(error).__name__})."), generation)
            raise
        else:
            self.record_success(member, generation)

    def _seconds_to_next_probe(self) -> float | None:
        dues = [due for member in self.members if _is_probed(member) and (due := member.breaker.due) is not None]
        return max(0.0, min(dues) - self._clock()) if dues and not self._closed else None

    def _start_prober(self) -> None:
        """Start the thread that probes, if there is something to probe and it does not run in this process."""
        if not self._background:
            return
        with self._lock:
            if self._seconds_to_next_probe() is None or (self._prober is not None and self._prober.is_alive()):
                return
            self._wake = threading.Event()
            self._prober = threading.Thread(target=self._run_prober, name=f"probe-{self.name}", daemon=True)
            self._prober.start()

    def _run_prober(self) -> None:
        wake = self._wake
        while True:
            self.probe_due()
            with self._lock:
                seconds = self._seconds_to_next_probe()
                if seconds is None:
                    self._prober = None  # under the lock, so that the next fault starts another one
                    return
            wake.wait(seconds)

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every key, and stop probing. A probe in progress ends by itself, at its deadline at the latest."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            keys = [member.key for member in self.members if member.key is not None]
        self._wake.set()
        for key in keys:
            key.close()
        self._companions.close()


def _is_same(one: TokenInfo, other: TokenInfo) -> bool:
    return (one.module_path, one.slot_id, one.serial, one.label) == (
        other.module_path,
        other.slot_id,
        other.serial,
        other.label,
    )


def _is_probed(member: Member) -> bool:
    """Return whether a member is probed in the background: not if a person would be asked for its PIN."""
    return member.key is not None or member.access.pin is None or not member.access.pin.attended
