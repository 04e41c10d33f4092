"""Canaries for python-pkcs11, whose internals tokens/pkcs11/_python_pkcs11.py uses."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import _pkcs11

from tests.seams import explain, require_attributes
from tests.softhsm import MODULE, TestToken
from tokens import DeviceManager
from tokens.errors import ModuleError
from tokens.pkcs11 import _python_pkcs11 as seam
from tokens.pkcs11.calls.cryptoki import Cryptoki, Function

POINTER = ctypes.sizeof(ctypes.c_void_p)


def test_what_is_used_exists() -> None:
    require_attributes("python-pkcs11", seam, _pkcs11, ("HasFuncList", "lib"))
    require_attributes("python-pkcs11", seam, _pkcs11.lib, ("initialize", "finalize", "get_slots"))
    require_attributes("python-pkcs11", seam, pkcs11.Slot, ("slot_id", "get_token"))
    assert issubclass(_pkcs11.lib, _pkcs11.HasFuncList), explain("python-pkcs11", seam, "keeps its functions elsewhere")


def test_the_pointer_leads_to_the_functions_of_the_module(softhsm: Path, manager: DeviceManager) -> None:
    manager.tokens.module(MODULE)  # initialised, since python-pkcs11 calls C_GetInfo
    # dlsym's answer is the truth: SoftHSM has one list.
    asked = ctypes.c_void_p()
    assert ctypes.CDLL(str(MODULE)).C_GetFunctionList(ctypes.byref(asked)) == 0
    found: list[int] = []
    seam.open_library(MODULE, lambda library: found.append(seam.function_list_of(library)))
    assert found == [asked.value], explain("python-pkcs11", seam, "keeps its function list elsewhere")


def test_slots_are_listed_through_the_list_that_was_put_in_place(softhsm: Path, manager: DeviceManager) -> None:
    module = manager.tokens.module(MODULE)
    for slot in module.queries.slots():
        assert module.token_in(slot).slot.slot_id == slot, explain("python-pkcs11", seam, "lists slots otherwise")


def test_a_session_has_its_handle(node: TestToken, manager: DeviceManager) -> None:
    from tokens import open_token

    with open_token(node.uri(), manager=manager) as connection, connection.writable() as session:
        state = connection.module.queries.session_state(seam.session_handle(session))
    assert state == 3, explain("python-pkcs11", seam, "has another meaning of Session.handle")


@pytest.mark.parametrize("offset", [-8, 8, 16])
def test_another_layout_is_refused_before_a_call(offset: int, softhsm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "HEADER_BYTES", seam.HEADER_BYTES + offset)
    monkeypatch.setattr(Cryptoki, "call", lambda *_: pytest.fail("called through a wrong pointer"))
    with pytest.raises(ModuleError, match=r"python-pkcs11 0\.\d+\.\d+ differs .* Install python-pkcs11"):
        seam.open_library(MODULE, seam.function_list_of)


def test_another_size_is_refused(softhsm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "_POINTER", 4)
    with pytest.raises(ModuleError, match="its type HasFuncList has 40 bytes"):
        seam.open_library(MODULE, seam.function_list_of)


def addresses() -> dict[str, tuple[int, object]]:
    """Addresses that are no function list, and what must be kept alive for them."""
    size = POINTER * 69
    text = ctypes.create_string_buffer((b"\x02\x28" + b"A" * size)[:size], size)
    numbers = ctypes.create_string_buffer(b"\x02\x28" + bytes(6) + struct.pack("@68P", *range(0x1000, 0x1044)), size)
    return {
        "nothing": (0, None),
        "not mapped": (0x10000, None),
        "not aligned": (ctypes.addressof(text) + 1, text),
        "text": (ctypes.addressof(text), text),
        "pointers to nowhere": (ctypes.addressof(numbers), numbers),
        "a Python object": (id(addresses), addresses),
        "the end of the address space": (2**64 - 8 * POINTER, None),
    }


@pytest.mark.parametrize("what", list(addresses()))
def test_what_is_no_function_list_is_refused_and_never_crashes(what: str) -> None:
    address, kept = addresses()[what]
    with pytest.raises(ModuleError, match="function list"):
        seam._prove_function_list(address)
    del kept


def test_a_library_that_does_not_use_the_list_is_refused(
    softhsm: Path, manager: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = manager.tokens.module(MODULE)
    monkeypatch.setattr(module._tokens, "_library", _pkcs11_without_slots())
    with pytest.raises(ModuleError, match="does not use its function list to list slots"):
        module.token_in(module.queries.slots()[0])


def _pkcs11_without_slots() -> object:
    class Library:
        def get_slots(self) -> list[object]:
            return []

    return Library()


def test_every_function_that_proves_a_list_is_in_it() -> None:
    assert max(Function) < seam.FUNCTIONS
