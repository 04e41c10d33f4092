"""The calls of one PKCS#11 module through ctypes, each with its deadline, and the calls that return only a CK_RV.

* C_Initialize with CKF_OS_LOCKING_OK, and with the string that some modules require in pReserved (NSS);
* C_Finalize at a chosen time;
* C_InitToken;
* C_Login and C_SetPIN, which take a PIN as bytes that can be wiped, or none at all (protected authentication path).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import ModuleError, TokenError, TokenLostError
from tokens.pins.sources import Pin
from tokens.pkcs11.calls.call_threads import CallRunner, device_call
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.limits import PERSON, kind_of

OK = 0x00
CRYPTOKI_ALREADY_INITIALIZED = 0x191
CRYPTOKI_NOT_INITIALIZED = 0x190
USER_ALREADY_LOGGED_IN = 0x100

_OS_LOCKING_OK = 0x02


class UserType(IntEnum):
    """User types of a login (CK_USER_TYPE)."""

    SO = 0
    USER = 1
    CONTEXT_SPECIFIC = 2


class SessionState(IntEnum):
    """CK_STATE."""

    RO_PUBLIC = 0
    RO_USER = 1
    RW_PUBLIC = 2
    RW_USER = 3
    RW_SO = 4


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS; NSS reads its parameter string from the second of two reserved pointers."""

    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("parameters", ctypes.c_char_p),
        ("reserved", ctypes.c_void_p),
    )


class _LoadedFunction:
    """A function of the module, and what every call of it needs to know."""

    __slots__ = ("call", "kind", "name", "takes_session", "takes_slot")

    def __init__(self, function: Function, call: Callable[..., int]) -> None:
        self.call = call
        self.name = function.official_name
        self.takes_slot = function.takes_slot
        self.takes_session = function.takes_session
        self.kind = kind_of(function)


class Cryptoki:
    """The function list of one module. Its methods may be called in any thread."""

    def __init__(self, function_list: int, threads: CallRunner) -> None:
        self.threads = threads
        # CK_VERSION is two bytes; the pointers behind it are aligned.
        first = function_list + ctypes.sizeof(ctypes.c_void_p)
        self._functions = ctypes.cast(first, ctypes.POINTER(ctypes.c_void_p))
        self._loaded: dict[Function, _LoadedFunction] = {}
        self._slots: dict[int, int] = {}
        self._deadlines: dict[int, CallDeadlines] = {}
        self._longest = DEFAULT_DEADLINES

    def use_deadlines(self, slot: int | None, deadlines: CallDeadlines) -> None:
        """Use these deadlines for the token in a slot; for None, for calls without a token that has its own."""
        if slot is None:
            self._longest = deadlines
        else:
            self._deadlines[slot] = deadlines

    def extend_deadlines(self, deadlines: CallDeadlines) -> None:
        """Allow calls at least these deadlines if they are for no token, or for one without deadlines of its own."""
        self._longest = self._longest.extend(deadlines)

    @device_call
    def initialize(self, parameters: str | None) -> int:
        """Initialise the module for an application with threads (C_Initialize)."""
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        if parameters is not None:
            arguments.parameters = parameters.encode("utf-8")
        self._slots.clear()
        return self.call(Function.INITIALIZE, ctypes.byref(arguments))

    @device_call
    def finalize(self) -> int:
        """Finalise the module (C_Finalize)."""
        return self.call(Function.FINALIZE, ctypes.c_void_p())

    def init_token(self, slot_id: int, so_pin: Pin | None, label: str) -> int:
        """Erase and initialise the token (C_InitToken). The label is at most 32 bytes of UTF-8."""
        return self._present(Function.INIT_TOKEN, (slot_id,), (so_pin,), label.encode("utf-8").ljust(32))

    def init_pin(self, session: int, pin: Pin | None) -> int:
        """Set the user's PIN (C_InitPIN), in a session of the security officer."""
        return self._present(Function.INIT_PIN, (session,), (pin,))

    def set_pin(self, session: int, old: Pin | None, new: Pin | None) -> int:
        """Change the PIN (C_SetPIN)."""
        return self._present(Function.SET_PIN, (session,), (old, new))

    def login(self, session: int, role: int, pin: Pin | None) -> int:
        """Log in (C_Login) as a `UserType`, or as a user type of the token's maker.

        Without a PIN the device asks for it (protected authentication path).
        """
        return self._present(Function.LOGIN, (session, int(role)), (pin,))

    @device_call
    def logout(self, session: int) -> int:
        """Log out in every session (C_Logout)."""
        return self.call(Function.LOGOUT, ctypes.c_ulong(session))

    @device_call
    def generate_random(self, session: int, length: int) -> int:
        """Generate random bytes and discard them (C_GenerateRandom)."""
        octets = ctypes.create_string_buffer(length)
        return self.call(Function.GENERATE_RANDOM, ctypes.c_ulong(session), octets, ctypes.c_ulong(length))

    @device_call
    def open_session(self, slot: int, flags: int) -> tuple[int, int]:
        """Open a session (C_OpenSession). Returns the CK_RV and the handle."""
        session = ctypes.c_ulong()
        rv = self.call(
            Function.OPEN_SESSION, ctypes.c_ulong(slot), ctypes.c_ulong(flags), None, None, ctypes.byref(session)
        )
        if rv == OK:
            self._slots[session.value] = slot
        return rv, session.value

    @device_call
    def close_session(self, session: int) -> int:
        """Close a session (C_CloseSession)."""
        # The module may give the handle to a session of another slot before this call is back here.
        slot = self._slots.pop(session, None)
        try:
            return self.call(Function.CLOSE_SESSION, ctypes.c_ulong(session), slot=slot)
        except TokenError:  # it was not called
            if slot is not None:
                self._slots[session] = slot
            raise

    def slot_of(self, session: int) -> int | None:
        """Return the slot of an open session, if it is known."""
        return self._slots.get(session)

    def slots_in_use(self) -> set[int]:
        """Return the slots of the tokens with an open session."""
        return set(self._slots.values())

    def call(self, function: Function, *arguments: Any, awaits_person: bool = False, slot: int | None = None) -> int:
        """Call a function, in a job of a call thread; the first argument is a CK_ULONG if it is a slot or a session.

        `slot` is that of the token, if it is not known from the session. `awaits_person` is for a PIN that is typed on
        the device itself. The job must keep the arguments, because a call outlives the caller that leaves it. Raises
        `ModuleError` if the module lacks the function, and as `CallThreads.begin_call` does.
        """
        loaded = self._loaded.get(function)
        if loaded is None:
            loaded = self._loaded[function] = _LoadedFunction(function, self._load(function))
        if loaded.takes_session and slot is None:
            slot = self._slots.get(arguments[0].value)
        elif loaded.takes_slot:
            slot = arguments[0].value
        deadlines = self._longest if slot is None else self._deadlines.get(slot, self._longest)
        kind = PERSON if awaits_person else loaded.kind
        self.threads.begin_call(loaded.name, slot, getattr(deadlines, kind), kind)
        try:
            return loaded.call(*arguments)  # ctypes releases the interpreter's lock during the call
        finally:
            self.threads.end_call()

    def _load(self, function: Function) -> Callable[..., int]:
        address = self._functions[int(function)]
        if not address:
            raise ModuleError(f"The PKCS#11 module has no {function.official_name}.")
        return ctypes.CFUNCTYPE(ctypes.c_ulong)(address)

    def _present(
        self, function: Function, place: tuple[int, ...], pins: tuple[Pin | None, ...], text: bytes | None = None
    ) -> int:
        # Copied in the caller's thread, because the caller wipes the PIN when it has left the call.
        copies = [[None if pin is None else bytearray(pin.octets()) for pin in pins]]

        def present() -> int:
            try:
                taken = copies.pop()
            except IndexError:  # the caller has left, and wiped them
                raise TokenLostError("The caller did not wait for this job.") from None
            return self._present_copies(function, place, taken, text)

        try:
            return self.threads.run(present)
        finally:
            with contextlib.suppress(IndexError):
                _wipe(copies.pop())  # no call was made

    @device_call
    def _present_copies(
        self, function: Function, place: tuple[int, ...], pins: list[bytearray | None], text: bytes | None
    ) -> int:
        arguments: list[Any] = [ctypes.c_ulong(number) for number in place]
        for pin in pins:
            arguments += (ctypes.c_void_p(), ctypes.c_ulong(0)) if pin is None else _octets(pin)
        if text is not None:
            arguments.append(text)
        try:
            return self.call(function, *arguments, awaits_person=all(pin is None for pin in pins))
        finally:
            _wipe(pins)


def _wipe(pins: list[bytearray | None]) -> None:
    for pin in pins:
        if pin is not None:
            pin[:] = bytes(len(pin))


def _octets(pin: bytearray) -> tuple[object, ctypes.c_ulong]:
    # The copy's own buffer, so that wiping it leaves none behind.
    return (ctypes.c_char * len(pin)).from_buffer(pin), ctypes.c_ulong(len(pin))
