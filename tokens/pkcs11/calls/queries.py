"""PKCS#11 calls that return plain data: the module, slots, tokens, mechanisms, sessions and objects.

A network token takes tens of milliseconds for each call, so each query is one call where PKCS#11 allows it. A CK_RV
other than CKR_OK is raised as python-pkcs11's exception. Structures are those of PKCS#11 v2.40, 3 and 4, which later
versions keep.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pkcs11 import Attribute

from tokens.errors import ModuleError, TokenError
from tokens.pkcs11.calls.call_threads import device_call
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.operations import Operations
from tokens.pkcs11.calls.return_values import check
from tokens.pkcs11.calls.structures import Attribute as AttributeStructure
from tokens.pkcs11.calls.structures import Template, decode_text

_UNAVAILABLE = ctypes.c_ulong(-1).value
_BUFFER_TOO_SMALL = 0x150
_FUNCTION_NOT_SUPPORTED = 0x54
_RANDOM_NO_RNG = 0x121
_PARTLY_ANSWERED = (0, 0x11, 0x12, _BUFFER_TOO_SMALL)
"""CK_RVs of C_GetAttributeValue after which the readable attributes are valid (PKCS#11 v3.1, 5.7.5)."""

_LOST = (0x30, 0x32, 0x60, 0x82, 0xB0, 0xB3, 0xE0, 0xE1, 0x101, 0x190)
"""CK_RVs that are about the device, the session or the object, and not about an attribute."""

_ROOM = 8191
"""Bytes for each requested attribute. A longer value, such as a long certificate, costs two more calls."""

_UNTOUCHED = b"\xa5"
"""The initial content of buffers, to detect what was written: modules may stop at the first attribute without value."""

_NUMBERS = frozenset({Attribute.CLASS, Attribute.CERTIFICATE_TYPE, Attribute.KEY_TYPE})
"""The requested attributes that are a CK_ULONG."""

_HANDLES = 64

_FIELDS_OF_INFO = (slice(2, 34), slice(48, 80), slice(80, 82))
"""manufacturerID, libraryDescription and libraryVersion in CK_INFO, whose flags are aligned as in C."""

_VERSIONS_OF_TOKEN = (96 + 11 * ctypes.sizeof(ctypes.c_ulong), 98 + 11 * ctypes.sizeof(ctypes.c_ulong))
"""Where hardwareVersion and firmwareVersion are in CK_TOKEN_INFO: behind the flags, and ten numbers of CK_ULONG."""

_SERIAL_SESSION, _RW_SESSION = 0x04, 0x02
"""CKF_SERIAL_SESSION, which must always be set, and CKF_RW_SESSION."""


@dataclass(frozen=True)
class ModuleData:
    """The used fields of CK_INFO. The version is as RFC 7512 writes it."""

    manufacturer: str
    description: str
    version: str


@dataclass(frozen=True)
class SlotData:
    """The used fields of CK_SLOT_INFO."""

    description: str
    manufacturer: str


@dataclass(frozen=True)
class TokenData:
    """The used fields of CK_TOKEN_INFO."""

    label: str
    manufacturer: str
    model: str
    serial: str
    flags: int
    hardware: str
    firmware: str


class Queries(Operations):
    """The calls of one module that return data, with those that use keys."""

    @device_call
    def module(self) -> ModuleData:
        """Return what the module reports about itself (C_GetInfo)."""
        info = ctypes.create_string_buffer(256)
        check(self._cryptoki.call(Function.GET_INFO, info))
        manufacturer, description, version = _FIELDS_OF_INFO
        major, minor = info.raw[version]
        return ModuleData(decode_text(info.raw[manufacturer]), decode_text(info.raw[description]), f"{major}.{minor}")

    @device_call
    def slots(self) -> list[int]:
        """Return the slots with a token, also uninitialised ones (C_GetSlotList)."""
        present, count = ctypes.c_ubyte(1), ctypes.c_ulong()
        while True:
            # A query for their number makes a module update its slots (PKCS#11 v2.40, 5.5).
            check(self._cryptoki.call(Function.GET_SLOT_LIST, present, None, ctypes.byref(count)))
            slots = (ctypes.c_ulong * count.value)()
            rv = self._cryptoki.call(Function.GET_SLOT_LIST, present, slots, ctypes.byref(count))
            if rv != _BUFFER_TOO_SMALL:  # another token was inserted in between
                check(rv)
                return list(slots[: count.value])

    @device_call
    def slot(self, slot: int) -> SlotData:
        """Return the slot's information (C_GetSlotInfo)."""
        info = ctypes.create_string_buffer(256)
        check(self._cryptoki.call(Function.GET_SLOT_INFO, ctypes.c_ulong(slot), info))
        return SlotData(description=decode_text(info.raw[:64]), manufacturer=decode_text(info.raw[64:96]))

    @device_call
    def token(self, slot: int) -> TokenData:
        """Return the current state of the token (C_GetTokenInfo)."""
        info = ctypes.create_string_buffer(512)
        check(self._cryptoki.call(Function.GET_TOKEN_INFO, ctypes.c_ulong(slot), info))
        hardware, firmware = (f"{info.raw[place]}.{info.raw[place + 1]}" for place in _VERSIONS_OF_TOKEN)
        return TokenData(
            label=decode_text(info.raw[:32]),
            manufacturer=decode_text(info.raw[32:64]),
            model=decode_text(info.raw[64:80]),
            serial=decode_text(info.raw[80:96]),
            flags=ctypes.c_ulong.from_buffer(info, 96).value,
            hardware=hardware,
            firmware=firmware,
        )

    @device_call
    def mechanisms(self, slot: int) -> list[int]:
        """Return the token's mechanisms (C_GetMechanismList)."""
        room = 1024
        while True:
            listed, count = (ctypes.c_ulong * room)(), ctypes.c_ulong(room)
            rv = self._cryptoki.call(Function.GET_MECHANISM_LIST, ctypes.c_ulong(slot), listed, ctypes.byref(count))
            if rv == _BUFFER_TOO_SMALL and count.value > room:
                room = count.value
                continue
            check(rv)
            return list(listed[: count.value])

    @device_call
    def mechanism_flags(self, slot: int, mechanism: int) -> int:
        """Return the flags of a mechanism, such as CKF_SIGN or CKF_DECRYPT (C_GetMechanismInfo)."""
        info = (ctypes.c_ulong * 3)()  # ulMinKeySize, ulMaxKeySize, flags
        check(self._cryptoki.call(Function.GET_MECHANISM_INFO, ctypes.c_ulong(slot), ctypes.c_ulong(mechanism), info))
        return int(info[2])

    def open_session(self, slot: int, *, writable: bool = False) -> int:
        """Open a session with the token in a slot (C_OpenSession); returns its handle."""
        flags = _SERIAL_SESSION | (_RW_SESSION if writable else 0)

        def close_late(opened: tuple[int, int] | BaseException) -> None:
            if isinstance(opened, tuple) and not opened[0]:
                self.threads.when_answering(slot, lambda: self._close_quietly(opened[1]))

        rv, session = self.threads.run(lambda: self._cryptoki.open_session(slot, flags), late=close_late)
        check(rv)
        return session

    def _close_quietly(self, session: int) -> None:
        with contextlib.suppress(TokenError):
            self._cryptoki.close_session(session)

    @device_call
    def close_session(self, session: int) -> None:
        """Close a session (C_CloseSession)."""
        check(self._cryptoki.close_session(session))

    @device_call
    def random(self, session: int, length: int) -> bytes:
        """Return random bytes from the token (C_GenerateRandom)."""
        octets = ctypes.create_string_buffer(length)
        check(self._cryptoki.call(Function.GENERATE_RANDOM, ctypes.c_ulong(session), octets, ctypes.c_ulong(length)))
        return octets.raw

    @device_call
    def check_alive(self, session: int) -> None:
        """Raise the token's error if it does not respond (C_GenerateRandom; C_GetSessionInfo without a generator)."""
        try:
            rv = self._cryptoki.generate_random(session, 8)
        except ModuleError:
            rv = _FUNCTION_NOT_SUPPORTED
        if rv in (_FUNCTION_NOT_SUPPORTED, _RANDOM_NO_RNG):
            self.session_state(session)
        else:
            check(rv)

    @device_call
    def session_state(self, session: int) -> int:
        """Return the session's CK_STATE (C_GetSessionInfo)."""
        info = (ctypes.c_ulong * 4)()  # slotID, state, flags, ulDeviceError
        check(self._cryptoki.call(Function.GET_SESSION_INFO, ctypes.c_ulong(session), info))
        return int(info[1])

    @device_call
    def find_objects(self, session: int, template: Mapping[int, bytes]) -> list[int]:
        """Return the handles of all objects that match (C_FindObjects)."""
        wanted = Template(template)
        check(self._cryptoki.call(Function.FIND_OBJECTS_INIT, ctypes.c_ulong(session), wanted.array, wanted.length))
        found = list(self._find(session))
        check(self._cryptoki.call(Function.FIND_OBJECTS_FINAL, ctypes.c_ulong(session)))
        return found

    def _find(self, session: int) -> Iterator[int]:
        while True:
            handles, count = (ctypes.c_ulong * _HANDLES)(), ctypes.c_ulong()
            check(
                self._cryptoki.call(
                    Function.FIND_OBJECTS,
                    ctypes.c_ulong(session),
                    handles,
                    ctypes.c_ulong(_HANDLES),
                    ctypes.byref(count),
                )
            )
            yield from handles[: count.value]
            # A module may return the handles in smaller lots than requested, so only an empty lot is the end.
            if not count.value:
                return

    @device_call
    def attributes(self, session: int, target: int, kinds: Sequence[int]) -> dict[int, bytes]:
        """Read several attributes in one call (C_GetAttributeValue), without those that the token does not report.

        Raises the token's error if the object or the token is lost, or if the token reports none of them for a reason
        other than that the object has none.
        """
        rv, answered = self._read(session, target, kinds, _ROOM)
        if rv not in _PARTLY_ANSWERED:
            answered = {}
        # Values that were too long, and values that a module skipped because it stops at the first missing one.
        passed_over = [kind for kind in kinds if kind not in answered]
        if passed_over:
            answered.update(self._one_by_one(session, target, passed_over))
        return {kind: value for kind, value in answered.items() if value is not None}

    def _one_by_one(self, session: int, target: int, kinds: Sequence[int]) -> dict[int, bytes | None]:
        answered: dict[int, bytes | None] = {}
        failure = 0
        for kind in kinds:
            rv, length = self._length(session, target, kind)
            if not rv:
                rv, single = self._read(session, target, [kind], max(length, 1))
                answered.update(single)
            if rv in _LOST:
                check(rv)
            if rv not in _PARTLY_ANSWERED:
                failure = rv
        if failure and not any(answered.values()):
            check(failure)
        return answered

    def _length(self, session: int, target: int, kind: int) -> tuple[int, int]:
        asked = (AttributeStructure * 1)(AttributeStructure(kind, None, 0))
        rv = self._cryptoki.call(
            Function.GET_ATTRIBUTE_VALUE, ctypes.c_ulong(session), ctypes.c_ulong(target), asked, ctypes.c_ulong(1)
        )
        length = int(asked[0].length)
        return (rv or 0x12, 0) if length == _UNAVAILABLE else (rv, length)

    def _read(self, session: int, target: int, kinds: Sequence[int], room: int) -> tuple[int, dict[int, bytes | None]]:
        # NSS 3.87 reports a number only if the buffer has the size of a number.
        rooms = [ctypes.sizeof(ctypes.c_ulong) if kind in _NUMBERS else room for kind in kinds]
        values = [ctypes.create_string_buffer(_UNTOUCHED * size, size) for size in rooms]
        asked = (AttributeStructure * len(kinds))(
            *(
                AttributeStructure(kind, ctypes.addressof(value), len(value))
                for kind, value in zip(kinds, values, strict=True)
            )
        )
        rv = self._cryptoki.call(
            Function.GET_ATTRIBUTE_VALUE,
            ctypes.c_ulong(session),
            ctypes.c_ulong(target),
            asked,
            ctypes.c_ulong(len(kinds)),
        )
        answered: dict[int, bytes | None] = {}
        for kind, value, attribute in zip(kinds, values, asked, strict=True):
            if attribute.length == _UNAVAILABLE and rv != _BUFFER_TOO_SMALL:
                answered[kind] = None
            elif attribute.length <= len(value) and (not rv or value.raw != _UNTOUCHED * len(value)):
                answered[kind] = value.raw[: attribute.length]
            elif not attribute.length:
                answered[kind] = b""
        return rv, answered

    @device_call
    def create_object(self, session: int, template: Mapping[int, bytes]) -> int:
        """Create an object (C_CreateObject)."""
        wanted, made = Template(template), ctypes.c_ulong()
        try:
            check(
                self._cryptoki.call(
                    Function.CREATE_OBJECT,
                    ctypes.c_ulong(session),
                    wanted.array,
                    wanted.length,
                    ctypes.byref(made),
                )
            )
        finally:
            wanted.wipe()
        return made.value

    @device_call
    def destroy_object(self, session: int, target: int) -> None:
        """Delete an object (C_DestroyObject)."""
        check(self._cryptoki.call(Function.DESTROY_OBJECT, ctypes.c_ulong(session), ctypes.c_ulong(target)))
