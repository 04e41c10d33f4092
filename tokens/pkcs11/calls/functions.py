"""The functions of PKCS#11, by their places in CK_FUNCTION_LIST of v2.40, which later versions begin with."""

from __future__ import annotations

from enum import IntEnum


class Function(IntEnum):
    """Places in CK_FUNCTION_LIST, after its version."""

    official_name: str
    """The name in PKCS#11, such as C_GetTokenInfo."""
    takes_slot: bool
    """Whether the first argument is a slot."""
    takes_session: bool
    """Whether the first argument is a session."""

    INITIALIZE = 0
    FINALIZE = 1
    GET_INFO = 2
    GET_SLOT_LIST = 4
    GET_SLOT_INFO = 5
    GET_TOKEN_INFO = 6
    GET_MECHANISM_LIST = 7
    GET_MECHANISM_INFO = 8
    INIT_TOKEN = 9
    INIT_PIN = 10
    SET_PIN = 11
    OPEN_SESSION = 12
    CLOSE_SESSION = 13
    GET_SESSION_INFO = 15
    LOGIN = 18
    LOGOUT = 19
    CREATE_OBJECT = 20
    DESTROY_OBJECT = 22
    GET_ATTRIBUTE_VALUE = 24
    FIND_OBJECTS_INIT = 26
    FIND_OBJECTS = 27
    FIND_OBJECTS_FINAL = 28
    ENCRYPT_INIT = 29
    ENCRYPT = 30
    DECRYPT_INIT = 33
    DECRYPT = 34
    SIGN_INIT = 42
    SIGN = 43
    GENERATE_KEY_PAIR = 59
    DERIVE_KEY = 62
    GENERATE_RANDOM = 64


_OF_A_SLOT = frozenset(
    {
        Function.GET_SLOT_INFO,
        Function.GET_TOKEN_INFO,
        Function.GET_MECHANISM_LIST,
        Function.GET_MECHANISM_INFO,
        Function.INIT_TOKEN,
        Function.OPEN_SESSION,
    }
)

_OF_THE_MODULE = frozenset({Function.INITIALIZE, Function.FINALIZE, Function.GET_INFO, Function.GET_SLOT_LIST})

for _function in Function:
    # Stored, since every call asks for them.
    _function.official_name = "C_" + _function.name.title().replace("_", "").replace("Pin", "PIN")
    _function.takes_slot = _function in _OF_A_SLOT
    _function.takes_session = _function not in _OF_A_SLOT | _OF_THE_MODULE
