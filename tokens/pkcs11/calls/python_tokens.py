"""python-pkcs11's Token for a slot, without the calls that it would make to get there.

python-pkcs11 reaches a token by C_GetSlotList, C_GetSlotInfo of *every* slot and C_GetTokenInfo; one slot that fails
takes all the others away. What they answer is not used here (see `queries`), so python-pkcs11 works with
a copy of the module's function list in which these three answer by themselves.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from pkcs11 import Token

from tokens.pkcs11.calls.cryptoki import FUNCTIONS, Function, function_list_of

_POINTER = ctypes.sizeof(ctypes.c_void_p)

_GetSlotList = ctypes.CFUNCTYPE(
    ctypes.c_ulong, ctypes.c_ubyte, ctypes.POINTER(ctypes.c_ulong), ctypes.POINTER(ctypes.c_ulong)
)
_GetInfo = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)

_SLOT_INFO, _TOKEN_INFO = 104, 200
"""Bytes of CK_SLOT_INFO and CK_TOKEN_INFO that are written: at most what every platform has."""


class PythonTokens:
    """The tokens of one python-pkcs11 library object. Keep it for as long as that is used."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._asked_for = threading.local()
        size = _POINTER * (1 + FUNCTIONS)  # CK_VERSION, aligned, and the pointers
        self._list = ctypes.create_string_buffer(ctypes.string_at(function_list_of(library), size), size)
        self._answers = (
            (Function.GET_SLOT_LIST, _GetSlotList(self._slot_list)),
            (Function.GET_SLOT_INFO, _GetInfo(lambda _, info: _blank(info, _SLOT_INFO))),
            (Function.GET_TOKEN_INFO, _GetInfo(lambda _, info: _blank(info, _TOKEN_INFO))),
        )
        for function, answer in self._answers:
            place = ctypes.addressof(self._list) + _POINTER * (1 + function)
            ctypes.c_void_p.from_address(place).value = ctypes.cast(answer, ctypes.c_void_p).value
        function_list_of(library, replacement=ctypes.addressof(self._list))

    def token(self, slot: int) -> Token:
        """The token in a slot, to open sessions on. Calls nothing of the module."""
        self._asked_for.slot = slot
        (found,) = self._library.get_slots()
        token: Token = found.get_token()
        return token

    def _slot_list(self, present: int, slots: Any, count: Any) -> int:
        if slots:
            slots[0] = self._asked_for.slot
        count[0] = 1
        return 0


def _blank(info: int, size: int) -> int:
    ctypes.memset(info, ord(" "), 96)  # the texts that both structures begin with
    ctypes.memset(info + 96, 0, size - 96)
    return 0
