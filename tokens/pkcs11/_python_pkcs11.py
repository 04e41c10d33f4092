"""The only module that uses internals of python-pkcs11: its C extension, its function list, and session handles.

python-pkcs11 initialises a module by itself, as if its process had one thread, and reaches a token by C_GetSlotList,
C_GetSlotInfo of *every* slot and C_GetTokenInfo, so that one slot that fails hides all other tokens. Neither can be
changed through its documented interface. So `open_library` has the caller initialise the module, and `PythonTokens`
has python-pkcs11 work with a copy of the module's function list in which those three functions answer by themselves.

The pointer to the function list (CK_FUNCTION_LIST) is the first member of an extension type, which nothing documents.
`function_list_of` proves this layout before anything is called through the pointer, and otherwise refuses.
tests/tokens/test_python_pkcs11_seam.py checks what is relied on.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pkcs11 import Session, Token
from pkcs11.exceptions import PKCS11Error

from tokens.errors import ModuleError
from tokens.pkcs11.calls.cryptoki import FUNCTIONS, Function
from tokens.pkcs11.calls.return_values import name_of, value_of

HEADER_BYTES = object.__basicsize__
"""Where the first member of a C structure behind a Python object begins."""

_POINTER = ctypes.sizeof(ctypes.c_void_p)
_LIST_BYTES = _POINTER * (1 + FUNCTIONS)
"""CK_FUNCTION_LIST: CK_VERSION, aligned, and the pointers."""

_MAJOR_VERSIONS = (2, 3)
_PROVEN_FUNCTIONS = (Function.INITIALIZE, Function.FINALIZE, Function.GET_SLOT_LIST)
"""Functions that every module has (PKCS#11 v2.40, 5.4 and 5.5)."""

_GetSlotList = ctypes.CFUNCTYPE(
    ctypes.c_ulong, ctypes.c_ubyte, ctypes.POINTER(ctypes.c_ulong), ctypes.POINTER(ctypes.c_ulong)
)
_GetInfo = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)

_SLOT_INFO, _TOKEN_INFO = 104, 200
"""Bytes of CK_SLOT_INFO and CK_TOKEN_INFO that are written: at most what every platform has."""


def open_library(path: Path, initialise: Callable[[Any], None]) -> Any:
    """Return python-pkcs11's library object for a module; `initialise` is called with it instead of C_Initialize.

    Raises `ModuleError` if the file is not a PKCS#11 module that can be loaded.
    """
    from pkcs11 import _pkcs11  # the C extension; everything else works without loading it

    class InitialisedByCaller(_pkcs11.lib):
        def initialize(self) -> None:
            # Never freed: python-pkcs11 0.10.1 writes a traceback when a library object ends after its class.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
            initialise(self)

    try:
        return InitialisedByCaller(str(path))
    except PKCS11Error as error:
        value = value_of(error)
        # What the dynamic linker says, without python-pkcs11's words before it.
        said = str(error).removeprefix(f"OS exception while loading {path}: ").removeprefix(f"{path}: ").rstrip(".")
        reason = said if value is None else name_of(value)
        raise ModuleError(f"{path} is not a PKCS#11 module that can be loaded: {reason}.") from error


def function_list_of(library: object) -> int:
    """Return the address of the CK_FUNCTION_LIST with which a library object works. Raises `ModuleError`.

    Asking the module for another one would not do: p11-kit's client makes a new instance for each call of
    C_GetFunctionList.
    """
    _check_layout()
    address = _member(library).value or 0
    _prove_function_list(address)
    return address


def session_handle(session: Session) -> int:
    """Return the CK_SESSION_HANDLE of a session, which python-pkcs11's types do not mention."""
    return int(session.handle)  # type: ignore[attr-defined]


class PythonTokens:
    """The tokens of one python-pkcs11 library object. Keep it for as long as that is used."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._asked_for = threading.local()
        self._list = ctypes.create_string_buffer(ctypes.string_at(function_list_of(library), _LIST_BYTES), _LIST_BYTES)
        self._answers = (
            (Function.GET_SLOT_LIST, _GetSlotList(self._slot_list)),
            (Function.GET_SLOT_INFO, _GetInfo(lambda _, info: _blank(info, _SLOT_INFO))),
            (Function.GET_TOKEN_INFO, _GetInfo(lambda _, info: _blank(info, _TOKEN_INFO))),
        )
        for function, answer in self._answers:
            place = ctypes.addressof(self._list) + _POINTER * (1 + function)
            ctypes.c_void_p.from_address(place).value = ctypes.cast(answer, ctypes.c_void_p).value
        _member(library).value = ctypes.addressof(self._list)

    def token(self, slot: int) -> Token:
        """Return the token in a slot, to open sessions on. Calls nothing of the module."""
        self._asked_for.slot = slot
        found = self._library.get_slots()
        if [one.slot_id for one in found] != [slot]:
            raise _explain_change("it does not use its function list to list slots")
        token: Token = found[0].get_token()
        return token

    def _slot_list(self, present: int, slots: Any, count: Any) -> int:
        if slots:
            slots[0] = self._asked_for.slot
        count[0] = 1
        return 0


def _check_layout() -> None:
    from pkcs11 import _pkcs11

    size = getattr(getattr(_pkcs11, "HasFuncList", None), "__basicsize__", 0)
    if size != object.__basicsize__ + 3 * _POINTER:
        raise _explain_change(f"its type HasFuncList has {size} bytes")


def _member(library: object) -> ctypes.c_void_p:
    return ctypes.c_void_p.from_address(id(library) + HEADER_BYTES)


def _prove_function_list(address: int) -> None:
    """Prove that an address is that of a CK_FUNCTION_LIST. It is read only where it is mapped, and nothing is called.

    A list begins with a version of PKCS#11, and its pointers lead to executable memory.
    """
    maps = _list_mapped_memory()
    if address % _POINTER or not _has_permission(maps, address, _LIST_BYTES, "r"):
        raise _explain_change("it does not keep its function list where it did")
    content = ctypes.string_at(address, _LIST_BYTES)
    pointers = struct.unpack_from(f"@{FUNCTIONS}P", content, _POINTER)
    executable = all(_has_permission(maps, pointers[function], 1, "x") for function in _PROVEN_FUNCTIONS)
    if content[0] not in _MAJOR_VERSIONS or not executable:
        raise _explain_change("what it keeps in the place of its function list is none")


def _list_mapped_memory() -> list[tuple[int, int, str]]:
    """Return the memory that is mapped: beginning, end and permissions (proc(5), /proc/pid/maps)."""
    mapped = []
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, permissions, *_ = line.split(maxsplit=2)
            start, end = (int(bound, 16) for bound in span.split("-"))
            mapped.append((start, end, permissions))
    return mapped


def _has_permission(maps: list[tuple[int, int, str]], address: int, size: int, permission: str) -> bool:
    end_of_last = address
    for start, end, permissions in maps:
        if start <= end_of_last < end:
            if permission not in permissions:
                return False
            end_of_last = end
            if address + size <= end:
                return True
    return False


def _explain_change(what: str) -> ModuleError:
    return ModuleError(
        f"python-pkcs11 {version('python-pkcs11')} differs from the versions that can be used here: {what}. Install "
        "python-pkcs11 0.10, from 0.10.1 on."
    )


def _blank(info: int, size: int) -> int:
    ctypes.memset(info, ord(" "), 96)  # the texts that both structures begin with
    ctypes.memset(info + 96, 0, size - 96)
    return 0
