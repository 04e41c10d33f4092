"""Load a PKCS#11 module: dlopen, and C_GetFunctionList (PKCS#11 v2.40, 5.4)."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tokens.errors import ModuleError
from tokens.pkcs11.calls.return_values import name_of


def load_function_list(file: Path) -> int:
    """Load a module and return the address of its CK_FUNCTION_LIST. The module stays loaded.

    Raises `ModuleError` if the file is not a PKCS#11 module that can be loaded.
    """
    address = ctypes.c_void_p()
    try:
        # ctypes never unloads a library. Some modules start threads, which must not lose their code.
        get_function_list = ctypes.CDLL(str(file)).C_GetFunctionList
    except OSError as error:
        raise _explain(file, str(error).removeprefix(f"{file}: ").rstrip(".")) from error
    except AttributeError as error:
        raise _explain(file, "it has no C_GetFunctionList") from error
    rv = get_function_list(ctypes.byref(address))
    if rv or not address.value:
        raise _explain(file, f"C_GetFunctionList: {name_of(rv & ctypes.c_ulong(-1).value)}")
    return address.value


def _explain(file: Path, reason: str) -> ModuleError:
    return ModuleError(f"{file} is not a PKCS#11 module that can be loaded: {reason}.")
