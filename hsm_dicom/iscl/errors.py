"""Errors of ISCL connections: a class for each party at fault, and a code for each cause.

Codes 100 to 115 mean what the published error list of the one documented ISCL toolkit means by the same number;
codes from 200 on are ours. None of them travels on the wire: there, a refusal is the NAK in the header's option
field, and an integrity failure only ends the connection.

Every error is an `OSError` as well, as `ssl.SSLError` is, so that a program written for sockets treats a broken ISCL
connection as a broken connection.
"""

from __future__ import annotations

from enum import IntEnum

from hsm_dicom.errors import DicomError
from tokens.errors import AuthenticationExpiredError, AuthenticationFailedError, ReflectedChallengeError, TokenError


class ErrorCode(IntEnum):
    """Why a connection failed."""

    UNEXPECTED_OPTION = 100
    """An option in a header that has no meaning there."""
    UNEXPECTED_LENGTH = 101
    """A message, or what was announced of it, has a length that it cannot have."""
    OWN_DEVICE_FAILED = 102
    """The device that holds our secret keys failed."""
    PEER_DEVICE_FAILED = 103
    """The peer reports that its device could not do its part."""
    UNEXPECTED_MESSAGE = 104
    """A message that does not exist, or is out of turn."""
    WRONG_VERSION = 105
    """Not MEDIS-ISCL V1.00."""
    WRONG_AUTHENTICATION_METHOD = 106
    """Not the three-pass four-way method."""
    BLOCK_LENGTH_TOO_LARGE = 107
    """A block length beyond what was offered."""
    PEER_REFUSED = 108
    """The peer answered NAK."""
    METHOD_NOT_ACCEPTABLE = 109
    """An encryption, key or MAC other than the configured one."""
    PEER_LIMIT_TOO_SMALL = 110
    """The peer does not take messages of this length."""
    OWN_LIMIT_TOO_SMALL = 111
    """The peer wants to send more than we take."""
    DECRYPTION_FAILED = 112
    """The padding of what was decrypted is wrong."""
    WRONG_MAC = 113
    """The message is not what its sender made a MAC of."""
    SESSION_RANDOM_EXPECTED = 114
    """The random number for the session key should have come first."""
    PEER_REFUSED_CLOSE = 115
    """The peer refuses to disconnect."""

    PEER_NOT_AUTHENTIC = 200
    """The response to our challenge is wrong: the peer does not have the authentication key."""
    CHALLENGE_REFLECTED = 201
    """The peer sent back one of our challenges."""
    KEY_NOT_CONFIGURED = 202
    """An authentication key index other than the configured one."""
    WRONG_AUTHENTICATION_DATA = 203
    """The peer's authentication data is not what is configured for it."""
    TIMED_OUT = 204
    """A step took longer than it may."""
    CONNECTION_LOST = 205
    """The connection ended without the disconnection protocol."""
    THROUGH_MODE_CLOSED = 206
    """Unprotected (through mode) data, which is not allowed explicitly."""
    NOT_NOW = 207
    """Our own program asked for something that this state of the connection does not allow."""


class ISCLSettingsError(DicomError):
    """Settings, or keys on the device, with which no connection may be opened. Names the setting and the remedy."""


class ISCLError(DicomError, OSError):
    """Base of every error here. `code` says why; its text is one sentence for the person who reads it."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.strerror = sentence

    @property
    def message(self) -> str:
        """The sentence, with the code behind it."""
        return f"{self.args[0]} [ISCL {int(self.code)}]"


class LocalProtocolError(ISCLError):
    """We tried something that the protocol does not allow here; the peer has seen nothing of it."""


class RemoteProtocolError(ISCLError):
    """The peer did something that the protocol, or our configuration, does not allow. The connection is over."""


class IntegrityError(RemoteProtocolError):
    """What arrived is not what was sent (codes 112 and 113).

    PS3.15 B.2 has the connection dropped and A-P-ABORT issued on both sides.
    """


class AuthenticationError(RemoteProtocolError):
    """The peer is not who it should be (codes 200 to 203)."""


class DeviceFailedError(ISCLError):
    """Our own device could not do its part (code 102); `__cause__` is the device's error."""


class StepTimeoutError(ISCLError, TimeoutError):
    """The peer, or the connection, took longer than a step may take (code 204)."""


class ConnectionLostError(ISCLError, ConnectionError):
    """The connection ended where the protocol does not end it (code 205)."""


def make_device_error(error: TokenError) -> ISCLError:
    """Make the connection's error for an error of our device, which becomes its `__cause__`."""
    match error:
        case ReflectedChallengeError():
            meaning: ISCLError = AuthenticationError(ErrorCode.CHALLENGE_REFLECTED, str(error))
        case AuthenticationFailedError():
            meaning = AuthenticationError(ErrorCode.PEER_NOT_AUTHENTIC, str(error))
        case AuthenticationExpiredError():
            meaning = StepTimeoutError(ErrorCode.TIMED_OUT, str(error))
        case _:
            meaning = DeviceFailedError(ErrorCode.OWN_DEVICE_FAILED, str(error))
    meaning.__cause__ = error
    return meaning
