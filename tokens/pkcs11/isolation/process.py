"""The process of an isolated module, as its parent sees it: started, called, and ended."""

from __future__ import annotations

import atexit
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokens.errors import (
    Facts,
    ModuleEndedError,
    ModuleError,
    Reason,
    TokenBusyError,
    TokenError,
    TokenLostError,
    TokenTimeoutError,
    fresh_copy,
)
from tokens.pkcs11.isolation.channel import Channel, EndedError
from tokens.pkcs11.isolation.encoding import MalformedError
from tokens.pkcs11.isolation.messages import (
    Busy,
    Expired,
    Raised,
    Returned,
    decode_answer,
    encode_request,
)
from tokens.printable import format_seconds
from tokens.process import ending

log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without a sign of life after which a process is killed. It gives one every half second."""

START_TIMEOUT = 30.0
"""Seconds that a process may take until it has loaded the module."""

END_TIMEOUT = 1.0
"""Seconds to wait for the end of a process, which finalises its module."""

_KILL_TIMEOUT = 0.1
"""Seconds to wait for a killed process. One that is in an uninterruptible call ends when that returns."""

_START = "import sys; sys.path.append(sys.argv.pop()); from tokens.pkcs11.isolation.child import main; main()"
_ROOT = str(Path(__file__).parents[3])
"""Where the package is, for a process that would not find it otherwise."""
_REMEDY = "Check the device and its connection. It is used again when it answers."


class ModuleProcess:
    """One process, which has loaded one module. It is not started again: another one takes its place."""

    def __init__(self, module: Path, first_session: int, *, one_at_a_time: bool) -> None:
        """Start the process. Raises `ModuleError`."""
        self._module = module
        self._began = time.monotonic()
        self._ended: float | None = None
        self._idle: list[Channel] = []
        self._busy: dict[Channel, float] = {}
        """The channels on which an answer is waited for, and since when."""
        self._interrupted: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._ending = threading.Lock()
        self._reason: TokenError | None = None
        try:
            self._control, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            raise _make_start_error(module, error) from error
        try:
            self._process = subprocess.Popen(
                [sys.executable, *_interpreter_options(), "-c", _START, str(first_session), str(one_at_a_time), _ROOT],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            self._control.close()
            raise _make_start_error(module, error) from error
        finally:
            theirs.close()
        ending.register(self)
        _processes.add(self)

    @property
    def pid(self) -> int:
        """The process id."""
        pid: int = self._process.pid
        return pid

    @property
    def lifetime(self) -> float:
        """The seconds from its start to its end, or to now."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def age(self) -> float:
        """The seconds since its end; 0 while it works."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended

    @property
    def reason(self) -> TokenError | None:
        """Why it has ended; None while it works."""
        if self._reason is None and self._process.poll() is not None:
            self._end_for(self._explain_end())
        return self._reason

    # -- calls ------------------------------------------------------------------------------------------------

    def call(self, method: str, arguments: Sequence[Any], options: Mapping[str, Any], silence: float = SILENCE) -> Any:
        """Carry out a method in the process, and return its result or raise what it raises.

        Raises `TokenTimeoutError` if a call of it takes longer than it may, and `ModuleEndedError` if the process
        ended; it is killed in both cases. `silence` is the time in seconds within which it must give a sign of life.
        """
        request = encode_request(method, arguments, options)
        try:
            channel = self._take_channel()
        except BaseException:
            request[:] = bytes(len(request))  # it may contain a PIN
            raise
        try:
            answer = self._exchange(channel, method, request, silence)
        except BaseException as error:
            has_left = channel in self._interrupted  # or the error is about the caller, such as KeyboardInterrupt
            self._end_for(error if isinstance(error, TokenError) and not has_left else self._explain_departure())
            self._busy.pop(channel, None)
            channel.close()
            raise
        finally:
            request[:] = bytes(len(request))
        self._busy.pop(channel, None)
        self._idle.append(channel)
        if self._reason is not None:
            self._close_idle()
        if isinstance(answer, Raised):
            raise answer.error
        return answer.value

    def _exchange(self, channel: Channel, method: str, request: bytearray, silence: float) -> Returned | Raised:
        """Return the answer to a request. Raises a `TokenError` if there is none: then the process must end."""
        try:
            channel.set_timeout(silence)
            channel.send(request)
            while isinstance(answer := decode_answer(method, channel.receive()), Busy):
                pass
        except EndedError:
            if channel in self._interrupted:
                raise TokenLostError("The wait for the device was ended, because this process is ending.") from None
            raise self._explain_end() from None
        except MalformedError as error:
            raise TokenLostError(
                f"The process of the PKCS#11 module {self._module} sent an invalid answer ({error}), so it was ended.",
                remedy="Check where the module comes from, and that nobody has changed it.",
            ) from None
        except TimeoutError:
            raise TokenTimeoutError(
                f"The process of the PKCS#11 module {self._module} sent nothing for {format_seconds(silence)}, so it "
                "was ended.",
                remedy=_REMEDY,
            ) from None
        if isinstance(answer, Expired):
            raise TokenTimeoutError(
                f"The token did not answer {answer.function} within {format_seconds(answer.seconds)}.",
                remedy=_REMEDY,
                facts=Facts(reason=Reason.NO_ANSWER, setting=answer.kind),
            )
        return answer

    def _take_channel(self) -> Channel:
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = self._open_channel()
        self._busy[channel] = time.monotonic()
        if self._reason is not None:
            self._busy.pop(channel, None)
            channel.close()
            ended = fresh_copy(self._reason)
            ended.facts = Facts(reason=Reason.NOT_CALLED)
            raise ended
        return channel

    def _open_channel(self) -> Channel:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            raise TokenBusyError(f"The PKCS#11 module {self._module} could not be called: {error.strerror}.") from error
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError:
                ours.close()
                why = self._explain_end()
                self._end_for(why)
                raise why from None
        return Channel(ours)

    # -- the end ----------------------------------------------------------------------------------------------

    def begin_to_end(self, reason: TokenError) -> None:
        """Tell the process to end, without waiting for it. `reason` is for callers that wait for an answer."""
        self._set_reason(reason)
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def finish(self, seconds: float) -> None:
        """Wait until the process has ended, at most so many seconds, and then kill it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, seconds))
        self._kill()

    def interrupt(self, waited: float) -> None:
        """Make every caller that has waited for so many seconds leave: this process is ending."""
        before = time.monotonic() - waited
        for channel, began in tuple(self._busy.items()):
            if began <= before:
                self._interrupted.add(channel)
                channel.shut()

    @property
    def has_late_calls(self) -> bool:
        """Whether a call goes on that its caller has left: never, since the process ends with the first one."""
        return False

    def forget(self) -> None:
        """Leave the process to the parent of this forked process."""
        _processes.discard(self)
        self._reason = TokenLostError("The process of a module belongs to the parent of this process.")
        self._control.close()
        for channel in (*self._idle, *self._busy):
            channel.close()
        self._process.returncode = 0  # so that it is neither waited for nor reported as running

    def _end_for(self, reason: TokenError) -> None:
        """Kill the process. Every caller that waits for it leaves with this reason, unless there was one before."""
        if self._set_reason(reason):
            log.warning("%s Its process %d was ended.", reason.message, self.pid)
        self._kill()

    def _set_reason(self, reason: TokenError) -> bool:
        """Set why the process ends, if nothing did before; return whether it was set."""
        with self._ending:
            if self._reason is not None:
                return False
            self._reason, self._ended = reason, time.monotonic()
            return True

    def _kill(self) -> None:
        self._process.kill()
        try:
            self._process.wait(_KILL_TIMEOUT)
        except subprocess.TimeoutExpired:
            threading.Thread(target=self._process.wait, name="module process", daemon=True).start()
        self._control.close()
        self._close_idle()
        for channel in tuple(self._busy):
            channel.shut()  # its caller closes it
        _processes.discard(self)

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _explain_departure(self) -> TokenError:
        return ModuleEndedError(
            f"The process of the PKCS#11 module {self._module} was ended, because a caller stopped waiting for it."
        )

    def _explain_end(self) -> TokenError:
        """Return why the process has ended, or is about to."""
        if self._reason is not None:
            return fresh_copy(self._reason)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_TIMEOUT)
        code = self._process.returncode
        if code is None:
            how = "has closed its connection"
        elif code < 0:
            how = f"was ended by {_name_of_signal(-code)}"
        else:
            how = f"ended with status {code}"
        return ModuleEndedError(f"The process of the PKCS#11 module {self._module} {how}.")


_processes: weakref.WeakSet[ModuleProcess] = weakref.WeakSet()


def end_processes(processes: Iterable[ModuleProcess], reason: TokenError | None = None) -> None:
    """Let several processes finalise their modules and end; kill those that have not ended after `END_TIMEOUT`."""
    those = list(processes)
    for process in those:
        process.begin_to_end(reason or TokenLostError("The PKCS#11 module was closed."))
    until = time.monotonic() + END_TIMEOUT
    for process in those:
        process.finish(until - time.monotonic())


@atexit.register
def _end_all() -> None:
    end_processes(_processes)


def _make_start_error(module: Path, error: OSError) -> ModuleError:
    return ModuleError(f"The process for the PKCS#11 module {module} could not be started: {error}.")


def _interpreter_options() -> list[str]:
    """Return the options that keep the child from importing what its parent would not import."""
    options = ["-P"]
    if sys.flags.isolated:
        options.append("-I")
    if sys.flags.ignore_environment:
        options.append("-E")
    if sys.flags.no_user_site:
        options.append("-s")
    return options


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
