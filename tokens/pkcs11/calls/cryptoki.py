"""PKCS#11 calls through ctypes, which python-pkcs11 does not make or makes differently.

* C_Initialize with CKF_OS_LOCKING_OK, and with the string that some modules require in pReserved (NSS);
* C_Finalize at a chosen time;
* C_InitToken;
* C_Login and C_SetPIN, which take a PIN as bytes that can be wiped, or none at all (protected authentication path).

Function numbers follow CK_FUNCTION_LIST of PKCS#11 v2.40, which later versions begin with.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

from tokens.errors import ModuleError
from tokens.pins.sources import Pin

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


FUNCTIONS = 68
"""The number of functions in CK_FUNCTION_LIST."""


class Function(IntEnum):
    """Places in CK_FUNCTION_LIST, after its version."""

    INITIALIZE = 0
    FINALIZE = 1
    GET_SLOT_LIST = 4
    GET_SLOT_INFO = 5
    GET_TOKEN_INFO = 6
    GET_MECHANISM_LIST = 7
    GET_MECHANISM_INFO = 8
    INIT_TOKEN = 9
    INIT_PIN = 10
    SET_PIN = 11
    GET_SESSION_INFO = 15
    LOGIN = 18
    LOGOUT = 19
    CREATE_OBJECT = 20
    DESTROY_OBJECT = 22
    GET_ATTRIBUTE_VALUE = 24
    FIND_OBJECTS_INIT = 26
    FIND_OBJECTS = 27
    FIND_OBJECTS_FINAL = 28
    DECRYPT_INIT = 33
    DECRYPT = 34
    SIGN_INIT = 42
    SIGN = 43
    GENERATE_KEY_PAIR = 59
    GENERATE_RANDOM = 64


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


class Cryptoki:
    """The function list of one module. Every method returns the call's CK_RV."""

    def __init__(self, function_list: int) -> None:
        # CK_VERSION is two bytes; the pointers behind it are aligned.
        first = function_list + ctypes.sizeof(ctypes.c_void_p)
        self._functions = ctypes.cast(first, ctypes.POINTER(ctypes.c_void_p))

    def initialize(self, parameters: str | None) -> int:
        """Initialise the module for an application with threads (C_Initialize)."""
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        if parameters is not None:
            arguments.parameters = parameters.encode("utf-8")
        return self.call(Function.INITIALIZE, ctypes.byref(arguments))

    def finalize(self) -> int:
        """Finalise the module (C_Finalize)."""
        return self.call(Function.FINALIZE, ctypes.c_void_p())

    def init_token(self, slot_id: int, so_pin: Pin | None, label: str) -> int:
        """Erase and initialise the token (C_InitToken). The label is at most 32 bytes of UTF-8."""
        padded = label.encode("utf-8").ljust(32)
        return self.call(Function.INIT_TOKEN, ctypes.c_ulong(slot_id), *_octets(so_pin), padded)

    def init_pin(self, session: int, pin: Pin | None) -> int:
        """Set the user's PIN (C_InitPIN), in a session of the security officer."""
        return self.call(Function.INIT_PIN, ctypes.c_ulong(session), *_octets(pin))

    def set_pin(self, session: int, old: Pin | None, new: Pin | None) -> int:
        """Change the PIN (C_SetPIN)."""
        return self.call(Function.SET_PIN, ctypes.c_ulong(session), *_octets(old), *_octets(new))

    def login(self, session: int, role: UserType, pin: Pin | None) -> int:
        """Log in (C_Login). Without a PIN the device asks for it (protected authentication path)."""
        return self.call(Function.LOGIN, ctypes.c_ulong(session), ctypes.c_ulong(role), *_octets(pin))

    def logout(self, session: int) -> int:
        """Log out in every session (C_Logout)."""
        return self.call(Function.LOGOUT, ctypes.c_ulong(session))

    def generate_random(self, session: int, length: int) -> int:
        """Generate random octets and discard them (C_GenerateRandom)."""
        octets = ctypes.create_string_buffer(length)
        return self.call(Function.GENERATE_RANDOM, ctypes.c_ulong(session), octets, ctypes.c_ulong(length))

    def call(self, function: Function, *arguments: object) -> int:
        """Call a function by its index. Raises `ModuleError` if the module lacks it."""
        address = self._functions[int(function)]
        if not address:
            raise ModuleError(f"The PKCS#11 module has no C_{function.name.title().replace('_', '')}.")
        call = ctypes.CFUNCTYPE(ctypes.c_ulong)(address)
        # ctypes releases the interpreter's lock during the call.
        return int(call(*arguments))


def _octets(pin: Pin | None) -> tuple[object, ctypes.c_ulong]:
    if pin is None:
        return ctypes.c_void_p(), ctypes.c_ulong(0)
    octets = pin.octets()
    # The PIN's own buffer, not a copy, so that wiping it leaves no copy behind.
    return (ctypes.c_char * len(octets)).from_buffer(octets), ctypes.c_ulong(len(octets))
