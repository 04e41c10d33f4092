"""PC/SC (winscard), with a deadline for every call and errors for every code.

pcsc-lite's client has no deadlines: a card that does not respond, or another program that keeps a transaction, blocks a
call forever, and SCardCancel does not help. But each context has its own Unix socket to pcscd, and shutting it down
makes the blocked call return at once. So a context here owns its socket, and a deadline or `cut` shuts it down. The
context cannot be used afterwards; a new one costs half a millisecond.

pyscard is an optional package (extra "cards"); it is loaded when the first card is requested.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import pwd
import socket
import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokens.errors import CardServiceError, Error, Facts, Reason
from tokens.process import ending, forking
from tokens.process.gate import Gate
from tokens.smartcard.readers.deadlines import Alarm, Deadlines
from tokens.smartcard.readers.main_thread import MainThreadCalls

DEFAULT_SOCKET = "/run/pcscd/pcscd.comm"

SERVICE_TIMEOUT = 5.0
"""Seconds for calls that pcscd answers by itself."""

QUIET_TIMEOUT = 5.0
"""Seconds to wait for current calls before a fork."""


class Code(IntEnum):
    """The SCARD_ codes that are distinguished here (pcsclite.h)."""

    TIMEOUT = 0x8010000A
    SHARING_VIOLATION = 0x8010000B
    NO_SMARTCARD = 0x8010000C
    UNKNOWN_READER = 0x80100009
    PROTO_MISMATCH = 0x8010000F
    NOT_TRANSACTED = 0x80100016
    READER_UNAVAILABLE = 0x80100017
    COMM_ERROR = 0x80100013
    NO_SERVICE = 0x8010001D
    SERVICE_STOPPED = 0x8010001E
    NO_READERS_AVAILABLE = 0x8010002E
    UNSUPPORTED_CARD = 0x80100065
    UNRESPONSIVE_CARD = 0x80100066
    UNPOWERED_CARD = 0x80100067
    RESET_CARD = 0x80100068
    REMOVED_CARD = 0x80100069
    SECURITY_VIOLATION = 0x8010006A


NO_READER = (Code.UNKNOWN_READER, Code.READER_UNAVAILABLE, Code.NO_READERS_AVAILABLE)
MUTE = (Code.UNSUPPORTED_CARD, Code.UNRESPONSIVE_CARD, Code.UNPOWERED_CARD, Code.PROTO_MISMATCH)
NO_SERVICE = (Code.NO_SERVICE, Code.SERVICE_STOPPED)


class PcscError(Error):
    """A call that did not return SCARD_S_SUCCESS. `cut` is the reason if the context was cut."""

    def __init__(self, code: int, cut: str | None = None) -> None:
        super().__init__(f"0x{code:08X}")
        self.code = code
        self.cut = cut

    @property
    def name(self) -> str:
        """The code as pcsc-lite names it, or its number, for messages."""
        try:
            return f"{Code(self.code).name} (0x{self.code:08X})"
        except ValueError:
            return f"0x{self.code:08X}"


def library() -> Any:
    """Return pyscard's module of SCard functions. Raises `CardServiceError` if it is not installed."""
    try:
        return importlib.import_module("smartcard.scard")
    except ImportError as error:
        raise CardServiceError(
            "Smart cards need the Python package pyscard, which is not installed.",
            remedy="Install it (on Debian first: apt-get install gcc python3-dev libpcsclite-dev pcscd).",
            facts=Facts(reason=Reason.CARD_PACKAGE_MISSING),
        ) from error


def polkit_error(what: str, action: str) -> CardServiceError:
    """Return the error for an action that polkit denies to this user; `action` is its name in pcsc-lite's policy."""
    return CardServiceError(
        f"polkit does not let this user {what} (SCARD_W_SECURITY_VIOLATION, 0x{Code.SECURITY_VIOLATION:08X}).",
        remedy="Allow it with a rule, such as /etc/polkit-1/rules.d/30-pcsc.rules: "
        f"polkit.addRule(function(action, subject) {{ if (action.id == '{action}' && subject.user == '{_user()}') "
        "return polkit.Result.YES; });",
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _no_context(code: int) -> CardServiceError:
    if code == Code.SECURITY_VIOLATION:
        return polkit_error("use the smart card service (pcscd)", "org.debian.pcsc-lite.access_pcsc")
    path = _socket_path()
    message = f"The smart card service (pcscd) does not answer at {path} ({PcscError(code).name})."
    if not _accepts(path):
        return CardServiceError(
            message, remedy="Check whether it is installed and running: systemctl status pcscd.socket"
        )
    return CardServiceError(
        f"{message} It accepts the connection and closes it, as it does if polkit does not allow this user.",
        remedy="Read journalctl -u pcscd, and allow org.debian.pcsc-lite.access_pcsc with a polkit rule.",
    )


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(path) == 0


class Context:
    """SCARDCONTEXT with its own socket. For one thread at a time, except for `cut`. `Contexts` creates them."""

    def __init__(self, deadlines: Deadlines, calls: MainThreadCalls, forget: Callable[[Context], None]) -> None:
        self.library = library()
        self._calls = calls
        self._forget = forget
        self._cutting = threading.Lock()
        self._cut: str | None = None
        self._released = False
        self._alarm = Alarm(deadlines, lambda: self.cut("deadline"))
        self._began = math.inf
        """When the current call began, on the monotonic clock."""
        try:
            with _client.establishing:
                self._sockets_before = _sockets_to_service()
                self._sockets: dict[int, int] | None = None
                code, self._handle = self._within(SERVICE_TIMEOUT, self._establish)
                # By inode: it may get the descriptor number of a context that another thread released meanwhile.
                self._sockets = self._new_sockets()
            self._require_established(code & 0xFFFFFFFF)
        except BaseException:
            self._alarm.discard()
            raise

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float) -> Any:
        """Make one SCard call and return its values without the code. Raises `PcscError`, within `timeout` seconds.

        In the main thread, a signal handler that raises ends it at once.
        """
        if self._cut is not None:
            raise PcscError(Code.NO_SERVICE, self._cut)
        result = self._within(timeout, lambda: function(*arguments))
        code, values = (result[0], result[1:]) if isinstance(result, (list, tuple)) else (result, ())
        if code:
            raise PcscError(code & 0xFFFFFFFF, self._cut)
        return values

    def with_handle(self, function: Callable[..., Any], *arguments: Any, timeout: float) -> Any:
        """Make a call whose first argument is the context, as `call` does."""
        return self.call(function, self._handle, *arguments, timeout=timeout)

    def cut(self, reason: str) -> None:
        """End the current call, and let every later one fail. May be called from any thread."""
        with self._cutting:
            if self._cut is not None:
                return
            self._cut = reason
            sockets = self._new_sockets() if self._sockets is None else self._sockets
        for inode, descriptor in sockets.items():
            _shut_down(descriptor, inode)

    def cancel(self, waited: float) -> None:
        """Cut the context if its current call has lasted for so many seconds."""
        if time.monotonic() - self._began >= waited:
            self.cut("cancelled")

    @property
    def usable(self) -> bool:
        """Whether the context was neither cut nor released."""
        return self._cut is None and not self._released

    def release(self) -> None:
        """Release the context (SCardReleaseContext), which closes the socket. Releasing twice is allowed."""
        with self._cutting:
            if self._released:
                return
            self._released = True
        self._forget(self)
        try:
            self._within(SERVICE_TIMEOUT, lambda: library().SCardReleaseContext(self._handle))
        finally:
            self._alarm.discard()

    def abandon(self) -> None:
        """Close the inherited socket in a forked child, without sending anything to pcscd."""
        descriptors, self._sockets, self._cut = (self._sockets or {}).values(), {}, "fork"
        self._cutting = threading.Lock()
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _new_sockets(self) -> dict[int, int]:
        """Return the sockets to pcscd that did not exist before this context, by inode."""
        return {
            inode: descriptor
            for inode, descriptor in _sockets_to_service().items()
            if inode not in self._sockets_before
        }

    def _establish(self) -> tuple[int, Any]:
        if self._cut is not None:
            return Code.NO_SERVICE, None
        code, handle = library().SCardEstablishContext(library().SCARD_SCOPE_USER)
        return code, handle

    def _require_established(self, code: int) -> None:
        if code and self._cut is not None:
            raise service_error(PcscError(code, self._cut))
        if code:
            raise _no_context(code)
        if len(self._sockets or {}) != 1:
            library().SCardReleaseContext(self._handle)
            raise CardServiceError(
                "The connection to the smart card service cannot be distinguished from others of this process, so no "
                "deadline could be kept.",
                remedy="Do not use PC/SC through another library at the same time.",
            )

    def _within(self, timeout: float, function: Callable[[], Any]) -> Any:
        """Call a function of the library, and cut the context if it does not return in time or a signal interrupts."""

        def call() -> Any:
            with _client.gate:
                self._alarm.arm(timeout)
                self._began = time.monotonic()
                try:
                    return function()
                finally:
                    self._began = math.inf
                    self._alarm.disarm()

        return self._calls.run(call, lambda: self.cut("cancelled"))


def list_readers(context: Context) -> list[str]:
    """Return the names of all readers."""
    try:
        (names,) = context.with_handle(context.library.SCardListReaders, [], timeout=SERVICE_TIMEOUT)
    except PcscError as error:
        if error.code == Code.NO_READERS_AVAILABLE:
            return []
        raise service_error(error) from error
    return list(names)


def service_error(error: PcscError) -> CardServiceError:
    """Return the error for a call that concerns pcscd alone."""
    if error.cut == "deadline":
        return CardServiceError(
            "The smart card service (pcscd) did not answer in time.", remedy="Restart it: systemctl restart pcscd"
        )
    return CardServiceError(
        f"The smart card service (pcscd) failed ({error.name}). Once it runs, cards are used again without a restart.",
        remedy="Look for the cause: systemctl status pcscd.socket",
    )


def _socket_path() -> str:
    return os.environ.get("PCSCLITE_CSOCK_NAME", DEFAULT_SOCKET)


def _sockets_to_service() -> dict[int, int]:
    """Return the sockets of this process that are connected to pcscd: descriptors by inode."""
    # The service may have bound its socket under another path of the folder, such as /var/run.
    name = "/" + Path(_socket_path()).name
    found = {}
    for entry in _descriptors():
        try:
            with socket.socket(fileno=os.dup(entry)) as copy:
                if copy.family == socket.AF_UNIX and os.fsdecode(copy.getpeername()).endswith(name):
                    found[os.fstat(copy.fileno()).st_ino] = entry
        except OSError:
            continue
    return found


def _descriptors() -> Iterator[int]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                yield int(entry.name)


def _shut_down(descriptor: int, inode: int) -> None:
    """Shut down a socket, unless its descriptor has become that of another file."""
    with contextlib.suppress(OSError):
        copy = os.dup(descriptor)
        if os.fstat(copy).st_ino != inode:
            os.close(copy)
            return
        with socket.socket(fileno=copy) as same:
            same.shutdown(socket.SHUT_RDWR)


class _Client:
    """The threads inside pcsc-lite's client library, so that no child process inherits its locks held."""

    def __init__(self) -> None:
        self.establishing = threading.Lock()
        """Lock to create one context at a time: the socket that did not exist before is that of the new context."""
        self.gate = Gate()
        self._quiet = False
        forking.register(self)

    def before_fork(self) -> None:
        """Wait until no thread is inside a call."""
        self.establishing.acquire()
        self._quiet = self.gate.close(QUIET_TIMEOUT)

    def after_fork_in_parent(self) -> None:
        """Let the threads continue."""
        if self._quiet:
            self.gate.open()
        self.establishing.release()

    def after_fork_in_child(self) -> None:
        """Start with no thread inside."""
        self.gate = Gate()
        self.establishing = threading.Lock()


_client = _Client()


class Contexts:
    """Owner of PC/SC contexts, of the thread that watches their deadlines, and of the threads of their calls."""

    has_late_calls = False
    """Every call returns when its context is cut."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.given_up_before = -math.inf
        """Who has waited for a card since before this time, on the monotonic clock, is to give up."""
        self._calls = MainThreadCalls()
        self._contexts: set[Context] = set()
        forking.register(self)
        ending.register(self)

    def establish(self) -> Context:
        """Return a new context. Raises `CardServiceError`."""
        context = Context(self.deadlines, self._calls, self._contexts.discard)
        self._contexts.add(context)
        return context

    def interrupt(self, waited: float) -> None:
        """Cancel every call that has lasted for so many seconds, because the process is ending."""
        self.given_up_before = time.monotonic() - waited
        for context in tuple(self._contexts):
            context.cancel(waited)

    def close(self) -> None:
        """Cut every open context, and join the threads. Contexts may be established again later."""
        for context in tuple(self._contexts):
            context.cut("closed")
            context.release()
        self._calls.close()
        self.deadlines.close()

    def before_fork(self) -> None:
        """Do nothing: `_Client` waits for the calls of all contexts."""

    def after_fork_in_parent(self) -> None:
        """Do nothing."""

    def after_fork_in_child(self) -> None:
        """Close the inherited sockets: the child has no share in the parent's cards."""
        for context in tuple(self._contexts):
            context.abandon()
        self._contexts.clear()
        self._calls.forget()
