"""The PKCS#11 calls that use keys: sign, encrypt, decrypt, derive and generate.

Each operation is two calls, such as C_SignInit and C_Sign. Sessions, keys and objects are handles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from pkcs11 import Mechanism as MechanismType
from pkcs11 import exceptions as p11

from tokens.pkcs11.calls.call_threads import device_call
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.return_values import check
from tokens.pkcs11.calls.structures import Mechanism, Template

_RESULT = 8192
"""Bytes for a signature, or for a plaintext of an asymmetric key."""

_Result = ctypes.c_char * _RESULT

_PADDING = 16
"""Bytes by which a ciphertext may be longer than its plaintext: one block."""


class Operations:
    """The calls of one module that use keys. A CK_RV other than CKR_OK is raised as python-pkcs11's exception."""

    def __init__(self, cryptoki: Cryptoki) -> None:
        self._cryptoki = cryptoki
        self.threads = cryptoki.threads

    @device_call
    def begin_signature(self, session: int, key: int, mechanism: MechanismType, parameter: object = None) -> None:
        """Begin a signature or a MAC (C_SignInit)."""
        self._begin(Function.SIGN_INIT, session, key, mechanism, parameter)

    @device_call
    def finish_signature(self, session: int, data: bytes) -> bytes:
        """Return the signature or MAC of the data (C_Sign)."""
        return self._finish(Function.SIGN, session, data, _Result())

    @device_call
    def begin_decryption(self, session: int, key: int, mechanism: MechanismType, parameter: object = None) -> None:
        """Begin a decryption (C_DecryptInit)."""
        self._begin(Function.DECRYPT_INIT, session, key, mechanism, parameter)

    @device_call
    def finish_decryption(self, session: int, data: bytes) -> bytes:
        """Return the plaintext (C_Decrypt)."""
        return self._finish(Function.DECRYPT, session, data, _make_room(data))

    @device_call
    def encrypt(self, session: int, key: int, mechanism: MechanismType, parameter: object, data: bytes) -> bytes:
        """Return the ciphertext of the data (C_EncryptInit, C_Encrypt)."""
        self._begin(Function.ENCRYPT_INIT, session, key, mechanism, parameter)
        return self._finish(Function.ENCRYPT, session, data, _make_room(data))

    @device_call
    def sign(self, session: int, key: int, mechanism: MechanismType, parameter: object, data: bytes) -> bytes:
        """Return the signature or MAC of the data (C_SignInit, C_Sign)."""
        self._begin(Function.SIGN_INIT, session, key, mechanism, parameter)
        return self._finish(Function.SIGN, session, data, _Result())

    @device_call
    def decrypt(self, session: int, key: int, mechanism: MechanismType, parameter: object, data: bytes) -> bytes:
        """Return the plaintext of the data (C_DecryptInit, C_Decrypt)."""
        self._begin(Function.DECRYPT_INIT, session, key, mechanism, parameter)
        return self._finish(Function.DECRYPT, session, data, _make_room(data))

    @device_call
    def derive_key(
        self, session: int, base: int, mechanism: MechanismType, parameter: object, template: Mapping[int, bytes]
    ) -> int:
        """Derive a key from another one (C_DeriveKey); returns its handle."""
        how, wanted, made = Mechanism(mechanism, parameter), Template(template), ctypes.c_ulong()
        check(
            self._cryptoki.call(
                Function.DERIVE_KEY,
                ctypes.c_ulong(session),
                how.reference,
                ctypes.c_ulong(base),
                wanted.array,
                wanted.length,
                ctypes.byref(made),
            )
        )
        return made.value

    @device_call
    def generate_key_pair(
        self, session: int, mechanism: MechanismType, public: Mapping[int, bytes], private: Mapping[int, bytes]
    ) -> tuple[int, int]:
        """Generate a key pair (C_GenerateKeyPair); returns the handles of the public and the private key."""
        how, halves = Mechanism(mechanism), (Template(public), Template(private))
        made = (ctypes.c_ulong(), ctypes.c_ulong())
        check(
            self._cryptoki.call(
                Function.GENERATE_KEY_PAIR,
                ctypes.c_ulong(session),
                how.reference,
                halves[0].array,
                halves[0].length,
                halves[1].array,
                halves[1].length,
                ctypes.byref(made[0]),
                ctypes.byref(made[1]),
            )
        )
        return made[0].value, made[1].value

    def _begin(self, function: Function, session: int, key: int, mechanism: MechanismType, parameter: object) -> None:
        how = Mechanism(mechanism, parameter)
        check(self._cryptoki.call(function, ctypes.c_ulong(session), how.reference, ctypes.c_ulong(key)))

    def _finish(self, function: Function, session: int, data: bytes, result: ctypes.Array[ctypes.c_char]) -> bytes:
        room = len(result)
        length = ctypes.c_ulong(room)
        try:
            check(
                self._cryptoki.call(
                    function, ctypes.c_ulong(session), data, ctypes.c_ulong(len(data)), result, ctypes.byref(length)
                )
            )
            if length.value > room:
                raise p11.FunctionFailed  # a length that was not filled in
            return ctypes.string_at(result, length.value)
        finally:
            ctypes.memset(result, 0, room)


def _make_room(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Return a buffer for the plaintext or the ciphertext of data."""
    room = len(data) + _PADDING
    return _Result() if room <= _RESULT else (ctypes.c_char * room)()
