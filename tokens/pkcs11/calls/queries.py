"""PKCS#11 calls that return plain data: slots, tokens, mechanisms, objects, signatures and plaintexts.

python-pkcs11 makes more calls than necessary: it queries all slots to use one, ten attributes of each object that it
finds, and the length of each result before the result. A network token takes tens of milliseconds for each call, so
each query here is one call. A CK_RV other than CKR_OK is raised as python-pkcs11's exception.

Enter the module's `gate` before each call. Structures are those of PKCS#11 v2.40, 3 and 4, which later versions keep.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pkcs11 import MGF, Attribute, Mechanism
from pkcs11 import exceptions as p11

from tokens.errors import ModuleError
from tokens.pkcs11.calls.cryptoki import Cryptoki, Function
from tokens.pkcs11.calls.return_values import check

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

_RESULT = 8192
"""Bytes for a signature or a plaintext."""

_HANDLES = 64

_DATA_SPECIFIED = 1
"""CKZ_DATA_SPECIFIED, the only source of an OAEP label."""


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


class _Attribute(ctypes.Structure):
    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong))


class _Template:
    """An array of CK_ATTRIBUTE, with the values that it points to."""

    def __init__(self, values: Mapping[int, bytes]) -> None:
        self._values = [ctypes.create_string_buffer(value, len(value)) for value in values.values()]
        self.array = (_Attribute * len(values))(
            *(
                _Attribute(kind, ctypes.addressof(value), len(value))
                for kind, value in zip(values, self._values, strict=True)
            )
        )


class _Mechanism(ctypes.Structure):
    _fields_ = (("mechanism", ctypes.c_ulong), ("parameter", ctypes.c_void_p), ("length", ctypes.c_ulong))


class _PssParameters(ctypes.Structure):
    _fields_ = (("hash", ctypes.c_ulong), ("mgf", ctypes.c_ulong), ("salt_length", ctypes.c_ulong))


class _OaepParameters(ctypes.Structure):
    _fields_ = (
        ("hash", ctypes.c_ulong),
        ("mgf", ctypes.c_ulong),
        ("source", ctypes.c_ulong),
        ("label", ctypes.c_char_p),
        ("label_length", ctypes.c_ulong),
    )


class Queries:
    """The calls of one module."""

    def __init__(self, cryptoki: Cryptoki) -> None:
        self._cryptoki = cryptoki

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

    def slot(self, slot: int) -> SlotData:
        """Return the slot's information (C_GetSlotInfo)."""
        info = ctypes.create_string_buffer(256)
        check(self._cryptoki.call(Function.GET_SLOT_INFO, ctypes.c_ulong(slot), info))
        return SlotData(description=_text(info.raw[:64]), manufacturer=_text(info.raw[64:96]))

    def token(self, slot: int) -> TokenData:
        """Return the current state of the token (C_GetTokenInfo)."""
        info = ctypes.create_string_buffer(512)
        check(self._cryptoki.call(Function.GET_TOKEN_INFO, ctypes.c_ulong(slot), info))
        return TokenData(
            label=_text(info.raw[:32]),
            manufacturer=_text(info.raw[32:64]),
            model=_text(info.raw[64:80]),
            serial=_text(info.raw[80:96]),
            flags=ctypes.c_ulong.from_buffer(info, 96).value,
        )

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

    def mechanism_flags(self, slot: int, mechanism: int) -> int:
        """Return the flags of a mechanism, such as CKF_SIGN or CKF_DECRYPT (C_GetMechanismInfo)."""
        info = (ctypes.c_ulong * 3)()  # ulMinKeySize, ulMaxKeySize, flags
        check(self._cryptoki.call(Function.GET_MECHANISM_INFO, ctypes.c_ulong(slot), ctypes.c_ulong(mechanism), info))
        return int(info[2])

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

    def session_state(self, session: int) -> int:
        """Return the session's CK_STATE (C_GetSessionInfo)."""
        info = (ctypes.c_ulong * 4)()  # slotID, state, flags, ulDeviceError
        check(self._cryptoki.call(Function.GET_SESSION_INFO, ctypes.c_ulong(session), info))
        return int(info[1])

    def find_objects(self, session: int, template: Mapping[int, bytes]) -> list[int]:
        """Return the handles of all objects that match (C_FindObjects)."""
        wanted = _Template(template)
        check(
            self._cryptoki.call(
                Function.FIND_OBJECTS_INIT, ctypes.c_ulong(session), wanted.array, ctypes.c_ulong(len(template))
            )
        )
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
        asked = (_Attribute * 1)(_Attribute(kind, None, 0))
        rv = self._cryptoki.call(
            Function.GET_ATTRIBUTE_VALUE, ctypes.c_ulong(session), ctypes.c_ulong(target), asked, ctypes.c_ulong(1)
        )
        length = int(asked[0].length)
        return (rv or 0x12, 0) if length == _UNAVAILABLE else (rv, length)

    def _read(self, session: int, target: int, kinds: Sequence[int], room: int) -> tuple[int, dict[int, bytes | None]]:
        # NSS 3.87 reports a number only if the buffer has the size of a number.
        rooms = [ctypes.sizeof(ctypes.c_ulong) if kind in _NUMBERS else room for kind in kinds]
        values = [ctypes.create_string_buffer(_UNTOUCHED * size, size) for size in rooms]
        asked = (_Attribute * len(kinds))(
            *(_Attribute(kind, ctypes.addressof(value), len(value)) for kind, value in zip(kinds, values, strict=True))
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

    def create_object(self, session: int, template: Mapping[int, bytes]) -> int:
        """Create an object (C_CreateObject)."""
        wanted, made = _Template(template), ctypes.c_ulong()
        check(
            self._cryptoki.call(
                Function.CREATE_OBJECT,
                ctypes.c_ulong(session),
                wanted.array,
                ctypes.c_ulong(len(template)),
                ctypes.byref(made),
            )
        )
        return made.value

    def generate_key_pair(
        self, session: int, mechanism: Mechanism, public: Mapping[int, bytes], private: Mapping[int, bytes]
    ) -> tuple[int, int]:
        """Generate a key pair (C_GenerateKeyPair); returns the handles of the public and the private key."""
        how, halves = _Mechanism(mechanism, None, 0), (_Template(public), _Template(private))
        made = (ctypes.c_ulong(), ctypes.c_ulong())
        check(
            self._cryptoki.call(
                Function.GENERATE_KEY_PAIR,
                ctypes.c_ulong(session),
                ctypes.byref(how),
                halves[0].array,
                ctypes.c_ulong(len(public)),
                halves[1].array,
                ctypes.c_ulong(len(private)),
                ctypes.byref(made[0]),
                ctypes.byref(made[1]),
            )
        )
        return made[0].value, made[1].value

    def destroy_object(self, session: int, target: int) -> None:
        """Delete an object (C_DestroyObject)."""
        check(self._cryptoki.call(Function.DESTROY_OBJECT, ctypes.c_ulong(session), ctypes.c_ulong(target)))

    def sign(
        self,
        session: int,
        key: int,
        mechanism: Mechanism,
        parameter: object,
        data: bytes,
        authenticate: Callable[[], None] | None,
    ) -> bytes:
        """Sign (C_SignInit, C_Sign), with `authenticate` called in between if the key requires it."""
        return self._operate(
            Function.SIGN_INIT, Function.SIGN, session, key, (mechanism, parameter), data, authenticate
        )

    def decrypt(
        self,
        session: int,
        key: int,
        mechanism: Mechanism,
        parameter: object,
        data: bytes,
        authenticate: Callable[[], None] | None,
    ) -> bytes:
        """Decrypt (C_DecryptInit, C_Decrypt), with `authenticate` called in between if the key requires it."""
        return self._operate(
            Function.DECRYPT_INIT, Function.DECRYPT, session, key, (mechanism, parameter), data, authenticate
        )

    def _operate(
        self,
        begin: Function,
        finish: Function,
        session: int,
        key: int,
        how: tuple[Mechanism, object],
        data: bytes,
        authenticate: Callable[[], None] | None,
    ) -> bytes:
        parameter = _parameter(*how)
        mechanism = _Mechanism(
            how[0], ctypes.addressof(parameter) if parameter else None, ctypes.sizeof(parameter) if parameter else 0
        )
        check(self._cryptoki.call(begin, ctypes.c_ulong(session), ctypes.byref(mechanism), ctypes.c_ulong(key)))
        if authenticate is not None:
            authenticate()
        result, length = ctypes.create_string_buffer(_RESULT), ctypes.c_ulong(_RESULT)
        check(
            self._cryptoki.call(
                finish, ctypes.c_ulong(session), data, ctypes.c_ulong(len(data)), result, ctypes.byref(length)
            )
        )
        try:
            if length.value > _RESULT:
                raise p11.FunctionFailed  # a length that was not filled in
            return result.raw[: length.value]
        finally:
            ctypes.memset(result, 0, _RESULT)


def _parameter(mechanism: Mechanism, parameter: object) -> ctypes.Structure | None:
    match parameter:
        case None:
            return None
        case (Mechanism() as digest, MGF() as mgf, int(salt_length)):
            return _PssParameters(digest, mgf, salt_length)
        case (Mechanism() as digest, MGF() as mgf, None | bytes() as label):
            return _OaepParameters(digest, mgf, _DATA_SPECIFIED, label or None, len(label or b""))
        case _:
            raise p11.ArgumentsBad(f"No parameter of this kind is known for {mechanism!r}.")


def _text(padded: bytes) -> str:
    """Decode text that is padded with blanks (PKCS#11) or terminated by a zero byte (some modules)."""
    return padded.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip(" ")
