"""Daemon threads in which the calls of one PKCS#11 module are made, so that a caller can leave a call that hangs.

Nothing can end a C call from outside. So a job that makes calls runs in a call thread, and its caller waits. Each call
states how long it may take. If it takes longer, the caller leaves with `TokenTimeoutError`, and the call stays in its
thread, which ends with the process at the latest. The fence keeps others away from the device until the call returns.

The hand-over costs two switches between threads for each job, and nothing for each call in it. Idle threads are reused,
the last one first.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from tokens.errors import Facts, Reason, TokenBusyError, TokenLostError, TokenTimeoutError
from tokens.pkcs11.calls.fence import Fence, LateCall
from tokens.pkcs11.calls.lane import CALLER, THREAD, Lane
from tokens.printable import format_seconds
from tokens.process import ending
from tokens.process.gate import Gate

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

_LOOK = 0.05
"""Seconds between a waiting caller's looks at the clock. A call that is shorter costs none."""

_MARK = "is_device_call"
"""The attribute of a method that `device_call` made."""


class _Here(threading.local):
    """What a call thread knows about itself."""

    threads: CallThreads | None = None
    lane: Lane


_here = _Here()


class CallThreads:
    """The call threads of one module."""

    def __init__(self, fence: Fence, other_token_answers: Callable[[int], bool]) -> None:
        """`other_token_answers` tells whether a token answers other than that in a slot, and may itself hang."""
        self.fence = fence
        self._other_token_answers = other_token_answers
        self._idle: list[Lane] = []
        self._busy: set[Lane] = set()
        ending.register(self)

    @property
    def gate(self) -> Gate:
        """The gate that each job enters."""
        return self.fence.gate

    @property
    def is_here(self) -> bool:
        """Whether the current thread is one of these."""
        return _here.threads is self

    @property
    def has_late_calls(self) -> bool:
        """Whether a caller has left a call that has not returned, or whose late result is being delivered."""
        return not self.fence.is_quiet

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job inside the gate, in a call thread, and return its result or raise what it raises.

        A job of a call thread runs at once in the same thread. If the caller leaves the job, `late` is called in the
        call thread with the result, or with the exception, when the job has ended. Raises `TokenTimeoutError` if a
        call of the job takes longer than it may, `ModuleFencedError` while the module is fenced, and `TokenBusyError`
        if the gate stays closed.
        """
        if self.is_here:
            return job()
        self.fence.check()
        return self._hand_over(job, self.fence.gate, late)

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method of `owner` as a job."""
        return self.run(lambda: method(owner, *arguments, **options))

    def run_alone(self, job: Callable[[], T], timeout: float) -> T:
        """Carry out a job while no other one is inside the gate. Raises `GateBusyError` after `timeout` seconds.

        Raises `ModuleFencedError` while any call is late.
        """
        self.fence.check_quiet()

        def begin() -> T:
            self.fence.check_quiet()  # a call that was inside the gate may have been left meanwhile
            return job()

        return self._hand_over(begin, self.gate.alone(timeout), None)

    def when_answering(self, slot: int | None, action: Callable[[], None]) -> None:
        """Call `action` now or, if the token in a slot has a late call, in the call thread when it has returned."""
        if not self.fence.defer(action, slot):
            self._enter(action)

    def _enter(self, action: Callable[[], None]) -> None:
        """Carry out a job that begins outside the gate, in a call thread or not."""
        with self.gate if self.is_here else contextlib.nullcontext():
            action()

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Start the clock of a call; `slot` is that of its token, if it has one. Raises as `Fence.check` does.

        `kind` is the field of `CallDeadlines` from which the seconds are.
        """
        lane = _here.lane
        if lane.late is not None and not lane.has_ended:
            raise _make_departure_error()
        self.fence.check(slot)
        lane.function, lane.slot, lane.kind = function, slot, kind
        lane.began = now = time.monotonic()
        lane.expires = now + seconds

    def end_call(self) -> None:
        """Stop the clock."""
        _here.lane.expires = math.inf

    def interrupt(self, waited: float) -> None:
        """Make every caller that has waited for so many seconds leave, with `TokenLostError`: the process is ending."""
        before = time.monotonic() - waited
        for lane in tuple(self._busy):
            if lane.began <= before:
                lane.interrupted = True

    def close(self) -> None:
        """End the idle threads."""
        while self._idle:
            lane = self._idle.pop()
            lane.prepare(None, contextlib.nullcontext())
            lane.go.release()

    def forget(self) -> None:
        """Start without threads in a forked child, where they do not exist."""
        self._idle, self._busy = [], set()
        _here.threads = None

    # -- the caller's side ----------------------------------------------------------------------------------

    def _hand_over(
        self, job: Callable[[], T], entrance: AbstractContextManager[object], late: Callable[[Any], None] | None
    ) -> T:
        try:
            lane = self._idle.pop()
        except IndexError:
            lane = self._start()
        lane.prepare(job, entrance)
        try:
            self._busy.add(lane)
            lane.go.release()
            self._wait(lane)
            result, failure = lane.outcome
        except BaseException:
            self._leave_once(lane, late)
            raise
        lane.outcome = (None, None)
        self._busy.discard(lane)
        self._idle.append(lane)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return result  # type: ignore[no-any-return]

    def _wait(self, lane: Lane) -> None:
        """Return when the job has ended. Raises if the caller should leave, which is not decided yet."""
        while not lane.done.acquire(timeout=_LOOK):
            if lane.interrupted:
                raise TokenLostError("The wait for the device was ended, because this process is ending.")
            expires = lane.expires
            if time.monotonic() >= expires:
                waited = format_seconds(round(expires - lane.began, 3))
                raise TokenTimeoutError(
                    f"The token did not answer {lane.function} within {waited}.",
                    remedy="Check the device and its connection. It is used again when it answers.",
                    facts=Facts(reason=Reason.NO_ANSWER, setting=lane.kind),
                )

    def _leave_once(self, lane: Lane, late: Callable[[Any], None] | None) -> None:
        """Leave a job completely, also if Ctrl-C is pressed again meanwhile."""
        interruption: BaseException | None = None
        while True:
            try:
                self._leave(lane, late)
                break
            except KeyboardInterrupt as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def _leave(self, lane: Lane, late: Callable[[Any], None] | None) -> None:
        """Leave a job, unless it has ended meanwhile. May be called again after an interruption."""
        if lane.late is None:
            lane.late = (LateCall(lane.function, lane.slot, lane.began), late)
        call, deliver = lane.late
        if lane.settling.get("by") is not CALLER:
            self.fence.add(call)
        # The caller may have been interrupted before it started the job, which then does not begin. The lane is not
        # used again: if the job was started before, this lets the thread end after it.
        with contextlib.suppress(RuntimeError):
            lane.go.release()
        if lane.settle(CALLER):
            if not lane.interrupted:
                self._find_extent(call)
            self.fence.log_departure(call)
            return
        self._busy.discard(lane)
        result, failure = lane.outcome
        self._deliver(lane, call, deliver, result if failure is None else failure)

    def _deliver(self, lane: Lane, call: LateCall, deliver: Callable[[Any], None] | None, result: object) -> None:
        """Deliver the result of a job that its caller has left, and let the device be used again."""
        lane.late = (call, None)  # it is delivered once
        answered = self.fence.remove(call)
        try:
            if deliver is not None:
                self._try(call, deliver, result)
            for action in answered:
                self._try(call, self._enter, action)
        finally:
            self.fence.settle(call)

    @staticmethod
    def _try(call: LateCall, action: Callable[..., None], *arguments: object) -> None:
        try:
            action(*arguments)
        except Exception as error:
            log.warning("The late result of %s could not be used (%s: %s).", call.function, type(error).__name__, error)

    def _find_extent(self, call: LateCall) -> None:
        """Find out, without waiting for it, whether the whole module hangs or only one token."""
        if not call.function:
            return  # the job does not begin, or makes no call
        if call.slot is None or self.gate.serves_one_at_a_time:
            self.fence.fence_module(call)
            return
        slot, returned = call.slot, self.fence.returned

        def probe() -> None:
            try:
                answers = self.run(lambda: self._other_token_answers(slot))
            except Exception:  # whatever the probe meets, it is no answer
                answers = False
            if not answers and self.fence.returned == returned:
                self.fence.fence_module(call)

        try:
            threading.Thread(target=probe, name="device probe", daemon=True).start()
        except RuntimeError:  # too many threads, or the interpreter is ending
            self.fence.fence_module(call)

    # -- the call thread's side -----------------------------------------------------------------------------

    def _start(self) -> Lane:
        lane = Lane()
        try:
            threading.Thread(target=self._serve, args=(lane,), name="device calls", daemon=True).start()
        except RuntimeError as error:  # too many threads, or the interpreter is ending
            raise TokenBusyError(f"No thread could be started to call the token ({error}).") from error
        return lane

    def _serve(self, lane: Lane) -> None:
        _here.threads, _here.lane = self, lane
        while True:
            lane.go.acquire()
            job = lane.job
            if job is None:
                return
            self._carry_out(lane, job)
            job = None
            if lane.settling["by"] is not THREAD:
                self._deliver_late(lane)
                return
            lane.done.release()

    def _carry_out(self, lane: Lane, job: Callable[[], Any]) -> None:
        """Carry out a job, and settle it inside the gate: who finalises the module then finds a late call recorded."""
        lane.job = None
        try:
            with lane.entrance:
                try:
                    if lane.late is not None:  # the caller left before the job began, which then must not begin
                        raise _make_departure_error()
                    lane.outcome = (job(), None)
                except BaseException as error:
                    lane.outcome = (None, error)
                lane.settle(THREAD)
        except BaseException as error:  # not let in
            lane.outcome = (None, error)
            lane.settle(THREAD)

    def _deliver_late(self, lane: Lane) -> None:
        """Deliver the result that no caller waits for. Others may be inside the gate: it may take long."""
        self._busy.discard(lane)
        lane.has_ended = True
        if lane.late is not None:
            call, deliver = lane.late
            (result, failure), lane.outcome = lane.outcome, (None, None)
            self._deliver(lane, call, deliver, result if failure is None else failure)
            self.fence.log_return(call)


def _make_departure_error() -> TokenLostError:
    return TokenLostError(
        "The caller did not wait for this job, so it is not carried out.", facts=Facts(reason=Reason.NOT_CALLED)
    )


class CallRunner(Protocol):
    """What carries out device calls: these threads, or another process."""

    @property
    def is_here(self) -> bool:
        """Whether the current thread may make calls itself."""

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job; see `CallThreads.run`."""

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method of `owner` that makes calls."""

    def when_answering(self, slot: int | None, action: Callable[[], None]) -> None:
        """Call `action` when a token has no late call; see `CallThreads.when_answering`."""

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Start the clock of a call; see `CallThreads.begin_call`."""

    def end_call(self) -> None:
        """Stop the clock."""


class _MakesCalls(Protocol):
    @property
    def threads(self) -> CallRunner: ...


S = TypeVar("S", bound=_MakesCalls)


def device_call(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Run a method that makes calls where they may be made: in a call thread, or in another process.

    Its arguments and its result are plain values, and the annotation of the result is exact: both may cross to another
    process (see `tokens.pkcs11.isolation.encoding`).
    """

    def hand_over(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.threads.is_here:
            return method(self, *args, **kwargs)
        return self.threads.perform(self, method, args, kwargs)

    functools.update_wrapper(hand_over, method)
    vars(hand_over)[_MARK] = True
    return hand_over


def is_device_call(method: object) -> bool:
    """Return whether `device_call` made this method."""
    return callable(method) and _MARK in vars(method)
