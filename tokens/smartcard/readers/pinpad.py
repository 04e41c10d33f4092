"""Readers with a PIN pad: a person types on the reader, and this process never has the PIN.

PC/SC part 10, 2.02.09. The reader reports its features; FEATURE_VERIFY_PIN_DIRECT gives the control code that takes a
PIN_VERIFY_STRUCTURE: the time to wait, the format of the PIN, and the VERIFY command with the position of the digits.
"""

from __future__ import annotations

import struct

from tokens.errors import CardLostError, CardTimeoutError, PinNotPresentedError, PinSourceError
from tokens.smartcard.apdu.status import OK, StatusError
from tokens.smartcard.apdu.tlv import objects
from tokens.smartcard.profiles import PinProfile
from tokens.smartcard.readers.channel import Channel

GET_FEATURE_REQUEST = 0x42000D48
"""CM_IOCTL_GET_FEATURE_REQUEST: SCARD_CTL_CODE(3400) of pcsc-lite."""

VERIFY_PIN_DIRECT = 0x06
"""The tag of FEATURE_VERIFY_PIN_DIRECT."""

_MARGIN = 5
"""Seconds by which the reader is to stop waiting before the caller does."""

_LONGEST = 255
"""The most seconds that bTimeOut can state."""

_ASCII_LEFT = 0x82
"""bmFormatString: bytes, left-justified, ASCII."""
_CANCELLED, _TIMED_OUT = 0x6401, 0x6400


def read_features(channel: Channel) -> dict[int, int]:
    """Return control codes by feature tag."""
    try:
        answer = channel.control(GET_FEATURE_REQUEST, b"", timeout=5.0)
    except CardTimeoutError:
        raise
    except CardLostError:
        # pcscd returns this for a reader without this request. If the card was removed, the next command fails.
        return {}
    return {tag: int.from_bytes(value, "big") for tag, value in objects(answer)}


def has_pin_pad(channel: Channel) -> bool:
    """Return whether a PIN can be typed on the reader."""
    return VERIFY_PIN_DIRECT in read_features(channel)


def verify(channel: Channel, pin: PinProfile, timeout: float) -> None:
    """Let a person type the PIN on the reader, which sends it to the card, within `timeout` seconds.

    Raises `StatusError` as VERIFY does, `PinSourceError` for a reader without a PIN pad, and `PinNotPresentedError`
    if no PIN was typed.
    """
    code = read_features(channel).get(VERIFY_PIN_DIRECT)
    if code is None:
        raise PinSourceError(f"The reader {channel.reader} has no PIN pad.", remedy="Use another PIN source.")
    typing_time = max(1, min(int(timeout) - _MARGIN, _LONGEST))
    response = channel.control(code, encode_pin_verify_structure(pin, typing_time), timeout)
    status = int.from_bytes(response[-2:], "big")
    if status in (_CANCELLED, _TIMED_OUT):
        raise PinNotPresentedError(f"No PIN was typed on the reader {channel.reader}.")
    if status != OK:
        raise StatusError("VERIFY", status)


def encode_pin_verify_structure(pin: PinProfile, typing_time: int) -> bytes:
    """Return the PIN_VERIFY_STRUCTURE (2.5.2) with the VERIFY command for this PIN, to be typed in so many seconds."""
    block = pin.maximum if pin.padding is not None else 0
    template = bytes([pin.padding or 0]) * block
    apdu = bytes([0x00, 0x20, 0x00, pin.reference, block]) + template
    head = struct.pack(
        "<BBBBBHBBHB3xI",
        typing_time,  # bTimeOut
        typing_time,  # bTimeOut2, after the first key
        _ASCII_LEFT,  # bmFormatString
        block,  # bmPINBlockString: the length of the block; the PIN's own length is not in the APDU
        0x00,  # bmPINLengthFormat
        pin.minimum << 8 | pin.maximum,  # wPINMaxExtraDigit
        0x02,  # bEntryValidationCondition: the key "OK"
        0x01,  # bNumberMessage
        0x0409,  # wLangId
        0x00,  # bMsgIndex; three bytes of bTeoPrologue follow, used only for T=1
        len(apdu),  # ulDataLength
    )
    return head + apdu
