"""Values between two processes: what is sent arrives, and nothing else is accepted."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import MGF, Attribute, Mechanism
from pkcs11 import exceptions as p11

from tokens.errors import ModuleError, OperationFailedError
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.queries import ModuleData, TokenData
from tokens.pkcs11.calls.structures import DerivationData
from tokens.pkcs11.isolation.encoding import MalformedError, decode, encode
from tokens.pkcs11.isolation.messages import (
    SERVICES,
    Expired,
    Raised,
    Returned,
    _converter_of,
    decode_answer,
    device_calls,
    encode_error,
    encode_expiry,
    encode_result,
)

SINGLE = (
    st.none()
    | st.booleans()
    | st.integers(0, (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.binary().map(DerivationData)
    | st.sampled_from([Mechanism.RSA_PKCS, MGF.SHA256, Function.LOGIN])
)
VALUES = st.recursive(
    SINGLE, lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 1 << 32), inner), max_leaves=20
)


def encoded(value: object) -> bytearray:
    content = bytearray()
    encode(value, content)
    return content


@given(VALUES)
def test_a_value_arrives_as_it_was_sent(value: object) -> None:
    arrived = decode(encoded(value))
    assert arrived == value
    assert repr(arrived) == repr(value)  # the types of the numbers too


@given(st.binary())
def test_anything_else_is_malformed(octets: bytes) -> None:
    try:
        value = decode(bytearray(octets))
    except MalformedError:
        return
    assert encoded(value) == octets or isinstance(value, dict)


@given(VALUES, st.data())
def test_a_shortened_value_is_malformed(value: object, data: st.DataObject) -> None:
    content = encoded(value)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(MalformedError):
        decode(content[:length])


@pytest.mark.parametrize("value", [-1, 1 << 64, object(), {1}, [[[[[[[[[[0]]]]]]]]]], 1j])
def test_what_has_no_encoding(value: object) -> None:
    with pytest.raises((TypeError, ValueError, MalformedError)):
        decode(encoded(value))


def test_attributes_cross_as_numbers() -> None:
    assert decode(encoded({Attribute.LABEL: b"x"})) == {3: b"x"}


@pytest.mark.parametrize(
    "octets", [b"L\xff\xff\xff\xff" + b"N" * 99, b"L" * 100, b"B\xff\xff\xff\xff", b"E\xff" + bytes(8)]
)
def test_sizes_are_bounded(octets: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(bytearray(octets))


def test_every_call_has_a_checked_result() -> None:
    assert len(device_calls()) > 25
    for method in (*device_calls(), *SERVICES):
        assert callable(_converter_of(method))


TOKEN = TokenData("label", "manufacturer", "model", "serial", 5, "1.0", "2.6")


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("Operations.sign", b"signature"),
        ("Queries.token", TOKEN),
        ("Queries.attributes", {0x102: b"\x01"}),
        ("Queries.module", ModuleData("manufacturer", "description", "2.6")),
        ("Cryptoki.open_session", (0, 5)),
        ("Queries.close_session", None),
    ],
)
def test_a_result_has_its_type(method: str, result: object) -> None:
    assert decode_answer(method, encode_result(result)) == Returned(result)
    for other in (b"x", 1, None, [b"x"], {b"x": 1}, "text", (1, 2, 3), True):
        if type(other) is not type(result):
            with pytest.raises(MalformedError):
                decode_answer(method, encode_result(other))


def test_errors_cross_as_what_they_are() -> None:
    def crossed(error: Exception) -> Exception:
        answer = decode_answer("Operations.sign", encode_error(error))
        assert isinstance(answer, Raised)
        return answer.error

    assert type(crossed(p11.DeviceRemoved())) is p11.DeviceRemoved
    assert type(crossed(p11.PKCS11Error("Unmapped error code 0x190"))) is p11.PKCS11Error
    assert str(crossed(ModuleError("It has no C_Sign."))) == "It has no C_Sign."
    other = crossed(MemoryError("\x1b[31mno memory"))
    assert type(other) is OperationFailedError
    assert "MemoryError: \\x1b[31mno memory" in str(other)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(print),
        encoded(["result"]),
        encoded(["rv", 0]),
        encoded(["failure", "SystemExit"]),
        encoded(["failure", "ModuleError", "x" * 5000]),
        encoded(["expired", "C_Sign; rm -rf", 2.0, "sign"]),
        encoded(["expired", "C_Sign", 2.0, "\x1b"]),
        encoded(["expired", "C_Sign", 2, "sign"]),
        encoded({"result": b"x"}),
    ],
)
def test_what_is_no_answer(content: Any) -> None:
    with pytest.raises(MalformedError):
        decode_answer("Operations.sign", bytearray(content))


def test_a_call_that_takes_too_long() -> None:
    assert decode_answer("Operations.sign", encode_expiry("C_Sign", 2.0, "sign")) == Expired("C_Sign", 2.0, "sign")


def test_a_decoded_message_is_wiped() -> None:
    content = encode_result(b"plaintext")
    decode_answer("Operations.decrypt", content)
    assert set(content) == {0}
