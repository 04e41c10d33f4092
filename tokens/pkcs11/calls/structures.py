"""The C structures of PKCS#11 that calls take: templates, and mechanisms with their parameters.

They are those of PKCS#11 v2.40, 3 and 4, and 6.5 for the parameters, which later versions keep. Each object here holds
the memory that its structure points to, so it must be kept until the call has returned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from pkcs11 import MGF
from pkcs11 import Mechanism as MechanismType
from pkcs11 import exceptions as p11

_DATA_SPECIFIED = 1
"""CKZ_DATA_SPECIFIED, the only source of an OAEP label."""


class Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong))


class Template:
    """An array of CK_ATTRIBUTE, with the values that it points to."""

    def __init__(self, values: Mapping[int, bytes]) -> None:
        self._values = [ctypes.create_string_buffer(value, len(value)) for value in values.values()]
        self.array = (Attribute * len(values))(
            *(
                Attribute(kind, ctypes.addressof(value), len(value))
                for kind, value in zip(values, self._values, strict=True)
            )
        )
        self.length = ctypes.c_ulong(len(values))

    def wipe(self) -> None:
        """Overwrite the values with zeros: a secret key is imported by a template."""
        for value in self._values:
            ctypes.memset(value, 0, len(value))


class _MechanismStructure(ctypes.Structure):
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


class _StringData(ctypes.Structure):
    """CK_KEY_DERIVATION_STRING_DATA."""

    _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_ulong))


class DerivationData(bytes):
    """The parameter of a derivation by encrypting data (PKCS#11 v3.1, 6.29)."""


class Mechanism:
    """A CK_MECHANISM, with the parameter that it points to.

    `parameter` is None; bytes, such as an initialisation vector; `DerivationData`; (hash, MGF, salt length in bytes)
    for PSS; or (hash, MGF, label) for OAEP.
    """

    def __init__(self, mechanism: MechanismType, parameter: object = None) -> None:
        self._parameter = _pack(mechanism, parameter)
        address = None if self._parameter is None else ctypes.addressof(self._parameter)
        size = 0 if self._parameter is None else ctypes.sizeof(self._parameter)
        self._structure = _MechanismStructure(mechanism, address, size)
        self.reference = ctypes.byref(self._structure)


def _pack(mechanism: MechanismType, parameter: object) -> ctypes.Structure | ctypes.Array[ctypes.c_char] | None:
    match parameter:
        case None:
            return None
        case DerivationData():
            return _StringData(bytes(parameter), len(parameter))
        case bytes():
            return ctypes.create_string_buffer(parameter, len(parameter))
        case (MechanismType() as digest, MGF() as mgf, int(salt_length)):
            return _PssParameters(digest, mgf, salt_length)
        case (MechanismType() as digest, MGF() as mgf, None | bytes() as label):
            return _OaepParameters(digest, mgf, _DATA_SPECIFIED, label or None, len(label or b""))
        case _:
            raise p11.ArgumentsBad(f"No parameter of this kind is known for {mechanism!r}.")


def decode_text(padded: bytes) -> str:
    """Decode text that is padded with blanks (PKCS#11) or terminated by a zero byte (some modules)."""
    return padded.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip(" ")
