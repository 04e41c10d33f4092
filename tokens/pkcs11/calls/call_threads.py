"""Daemon threads in which the calls of one PKCS#11 module are made, so that a caller can leave a call that hangs.

Nothing can end a C call from outside. So a job that makes calls runs in a call thread, and its caller waits. Each call
states how long it may take. If it takes longer, the caller leaves with `TokenTimeoutError`, and the call stays in its
thread, which ends with the process at the latest. The fence keeps others away from the device until the call returns.

The hand-over costs two switches between threads for each job, and nothing for each call in it. Idle threads are reused,
the last one first.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from tokens.errors import Facts, Reason, TokenBusyError, TokenLostError, TokenTimeoutError
from tokens.pkcs11.calls.fence import Fence, LateCall
from tokens.process import ending
from tokens.process.gate import Gate

T = TypeVar("T")
P = ParamSpec("P")

_LOOK = 0.05
"""Seconds between a waiting caller's looks at the clock. A call that is shorter costs none."""

_MARK = "is_device_call"
"""The attribute of a method that `device_call` made."""

_here = threading.local()


class _Lane:
    """One call thread and the job that it carries out."""

    __slots__ = (
        "began",
        "done",
        "expires",
        "function",
        "go",
        "interrupted",
        "job",
        "kind",
        "late",
        "outcome",
        "settling",
        "slot",
    )

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.done = threading.Lock()
        self.done.acquire()
        self.outcome: tuple[Any, BaseException | None] = (None, None)
        self.prepare(None)

    def prepare(self, job: Callable[[], Any] | None) -> None:
        """Take the next job."""
        self.job = job
        self.settling = threading.Lock()
        """Acquired once for each job: by its thread when the job has ended, or by its caller when it leaves."""
        self.late: tuple[LateCall, Callable[[Any], None] | None] | None = None
        """Set by a caller that leaves, before it acquires `settling`."""
        self.interrupted = False
        self.function = self.kind = ""
        self.slot: int | None = None
        self.began = time.monotonic()
        self.expires = math.inf

    def settle(self) -> bool:
        """Return True to the first of the two sides that asks."""
        return self.settling.acquire(blocking=False)


class CallThreads:
    """The call threads of one module."""

    def __init__(self, fence: Fence, other_token_answers: Callable[[int], bool]) -> None:
        """`other_token_answers` tells whether a token answers other than that in a slot, and may itself hang."""
        self.fence = fence
        self._other_token_answers = other_token_answers
        self._idle: list[_Lane] = []
        self._busy: set[_Lane] = set()
        ending.register(self)

    @property
    def gate(self) -> Gate:
        """The gate that each job enters."""
        return self.fence.gate

    @property
    def is_here(self) -> bool:
        """Whether the current thread is one of these."""
        return getattr(_here, "threads", None) is self

    @property
    def has_late_calls(self) -> bool:
        """Whether a caller has left a call that has not returned."""
        return bool(self.fence.late)

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

        def enter() -> T:
            with self.gate:
                self._require_caller()
                return job()

        return self._hand_over(enter, late)

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method of `owner` as a job."""
        return self.run(lambda: method(owner, *arguments, **options))

    def run_alone(self, job: Callable[[], T], timeout: float) -> T:
        """Carry out a job while no other one is inside the gate. Raises `GateBusyError` after `timeout` seconds.

        Raises `ModuleFencedError` while any call is late.
        """
        self.fence.check_quiet()

        def enter() -> T:
            with self.gate.alone(timeout):
                self._require_caller()
                return job()

        return self._hand_over(enter, None)

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Start the clock of a call; `slot` is that of its token, if it has one. Raises as `Fence.check` does.

        `kind` is the field of `CallDeadlines` from which the seconds are.
        """
        self.fence.check(slot)
        lane: _Lane = _here.lane
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
            lane.prepare(None)
            lane.go.release()

    def forget(self) -> None:
        """Start without threads in a forked child, where they do not exist."""
        self._idle, self._busy = [], set()
        _here.threads = None

    # -- the caller's side ----------------------------------------------------------------------------------

    def _hand_over(self, job: Callable[[], T], late: Callable[[Any], None] | None) -> T:
        try:
            lane = self._idle.pop()
        except IndexError:
            lane = self._start()
        lane.prepare(job)
        self._busy.add(lane)
        lane.go.release()
        try:
            self._wait(lane)
        except BaseException:
            self._leave(lane, late)
            raise
        result, failure = self._collect(lane)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return result  # type: ignore[no-any-return]

    def _wait(self, lane: _Lane) -> None:
        """Return when the job has ended. Raises if the caller should leave, which is not decided yet."""
        while not lane.done.acquire(timeout=_LOOK):
            if lane.interrupted:
                raise TokenLostError("The device was not waited for any longer, because this process is ending.")
            expires = lane.expires
            if time.monotonic() >= expires:
                raise TokenTimeoutError(
                    f"The token did not answer {lane.function} within {expires - lane.began:g} seconds.",
                    remedy="Check the device and its connection. It is used again when it answers.",
                    facts=Facts(reason=Reason.NO_ANSWER, setting=lane.kind),
                )

    def _leave(self, lane: _Lane, late: Callable[[Any], None] | None) -> None:
        """Leave a job, unless it has ended meanwhile."""
        call = LateCall(lane.function, lane.slot, lane.began)
        lane.late = (call, late)
        self.fence.add(call)
        if lane.settle():
            if not lane.interrupted:
                self._find_extent(call)
            return
        self.fence.remove(call)
        lane.done.acquire()
        result, failure = self._collect(lane)
        if late is not None:
            late(result if failure is None else failure)

    def _collect(self, lane: _Lane) -> tuple[Any, BaseException | None]:
        outcome, lane.outcome = lane.outcome, (None, None)
        self._busy.discard(lane)
        self._idle.append(lane)
        return outcome

    def _find_extent(self, call: LateCall) -> None:
        """Find out, without waiting for it, whether the whole module hangs or only one token."""
        if call.slot is None or self.gate.serves_one_at_a_time:
            self.fence.fence_module(call)
            return
        slot = call.slot

        def probe() -> None:
            try:
                answers = self.run(lambda: self._other_token_answers(slot))
            except Exception:  # whatever the probe meets, it is no answer
                answers = False
            if not answers:
                self.fence.fence_module(call)

        threading.Thread(target=probe, name="device probe", daemon=True).start()

    # -- the call thread's side -----------------------------------------------------------------------------

    def _require_caller(self) -> None:
        """Raise if the caller left before the job began, which then must not begin."""
        if _here.lane.late is not None:
            raise TokenLostError("The caller did not wait for this job.")

    def _start(self) -> _Lane:
        lane = _Lane()
        try:
            threading.Thread(target=self._serve, args=(lane,), name="device calls", daemon=True).start()
        except RuntimeError as error:  # too many threads, or the interpreter is ending
            raise TokenBusyError(f"No thread could be started to call the token ({error}).") from error
        return lane

    def _serve(self, lane: _Lane) -> None:
        _here.threads, _here.lane = self, lane
        while True:
            lane.go.acquire()
            job = lane.job
            if job is None:
                return
            result: Any = None
            failure: BaseException | None = None
            try:
                result = job()
            except BaseException as error:
                failure = error
            lane.job = job = None
            lane.outcome = (result, failure)
            if lane.settle():
                result = failure = None
                lane.done.release()
            else:
                self._settle_late(lane)
                return

    def _settle_late(self, lane: _Lane) -> None:
        """Deliver the result that no caller waits for, and let the device be used again."""
        self._busy.discard(lane)
        (result, failure), late = lane.outcome, lane.late
        if late is not None:
            call, deliver = late
            self.fence.remove(call)
            if deliver is not None:
                deliver(result if failure is None else failure)


class CallRunner(Protocol):
    """What carries out device calls: these threads, or another process."""

    @property
    def is_here(self) -> bool:
        """Whether the current thread may make calls itself."""

    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job; see `CallThreads.run`."""

    def perform(self, owner: Any, method: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        """Carry out a method of `owner` that makes calls."""

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
