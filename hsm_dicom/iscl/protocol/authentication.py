"""Mutual authentication: the answer of each end to the messages of the three passes.

PS3.15-2008 B.2 asks for three-pass (four-way) authentication after ISO/IEC 9798-2. What is known of ISCL is two
one-way proofs that interleave: each end answers the other's challenge with INTERNAL AUTHENTICATE and verifies the
other's answer with EXTERNAL AUTHENTICATE (ISO/IEC 7816-4). The device does both. A challenge that is one of our own is
not answered: `tokens.secrets` refuses it, in this conversation and in all others with the same secret keys. The
profile says whether a response is the challenge encrypted or decrypted (R7).
"""

from __future__ import annotations

import contextlib

from hsm_dicom.iscl.entity import decode_entity
from hsm_dicom.iscl.errors import AuthenticationError, ErrorCode
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.wire.messages import (
    AuthenticationCompletion,
    AuthenticationMethod,
    AuthenticationRequest,
    AuthenticationResponse,
    LineCheckResponse,
    Message,
    Pass1,
    Pass2,
    Pass3,
)
from hsm_dicom.iscl.wire.profile import ResponseCode, Role
from tokens.secrets import Authentication, Secrets


class Authenticator:
    """One end of one authentication."""

    def __init__(self, role: Role, settings: ISCLSettings, secrets: Secrets, peer: str) -> None:
        self._role = role
        self._settings = settings
        self._secrets = secrets
        self._peer = peer
        self._held = contextlib.ExitStack()
        self._conversation: Authentication | None = None

    def follow(self, message: Message) -> Message | None:
        """Return the answer to a message of the handshake; None to the last one.

        Raises `AuthenticationError` for what differs from the settings, and the errors of `tokens.errors`.
        """
        match message:
            case LineCheckResponse():
                method = AuthenticationMethod.THREE_PASS_FOUR_WAY
                settings = self._settings
                return AuthenticationRequest(method, settings.authentication_key, settings.authentication_data)
            case AuthenticationRequest():
                self._check_key(message.key_index)
                self._check_data(message.authentication_data)
                return AuthenticationResponse(self._settings.authentication_data)
            case AuthenticationResponse():
                self._check_data(message.authentication_data)
                return Pass1(self._device().challenge)
            case Pass1():
                # In this order: a card verifies only its last challenge, and only in the very next command.
                response = self._device().internal_authenticate(message.challenge)
                return Pass2(response, self._device().challenge)
            case Pass2():
                self._device().external_authenticate(message.response)
                response = self._device().internal_authenticate(message.challenge)
                self.close()
                return Pass3(response)
            case Pass3():
                self._device().external_authenticate(message.response)
                self.close()
                return AuthenticationCompletion() if self._settings.profile.completion_notice else None
        return None

    def close(self) -> None:
        """Let go of the device; doing so twice is fine."""
        self._held.close()

    def _device(self) -> Authentication:
        """Return the conversation with the device, begun with its first use."""
        if self._conversation is None:
            ours = self._settings.authentication_key
            theirs = self._settings.server_authentication_key or ours
            if self._role is Role.SERVER:
                ours, theirs = theirs, ours
            profile = self._settings.profile
            self._conversation = self._held.enter_context(
                self._secrets.authentication(
                    ours,
                    theirs,
                    by_decryption=profile.response_code is ResponseCode.DECRYPTED_CHALLENGE,
                    timeout=profile.handshake_timeout,
                )
            )
        return self._conversation

    def _check_key(self, index: int) -> None:
        if index != self._settings.authentication_key:
            raise AuthenticationError(
                ErrorCode.KEY_NOT_CONFIGURED,
                f"{self._peer} asks for authentication key {index}; "
                f"{self._settings.authentication_key} is configured for it.",
            )

    def _check_data(self, received: bytes) -> None:
        expected = self._settings.peer_authentication_data
        if expected is not None and received != expected:
            raise AuthenticationError(
                ErrorCode.WRONG_AUTHENTICATION_DATA,
                f"{self._peer} calls itself '{decode_entity(received)}'; "
                f"'{decode_entity(expected)}' is configured for it.",
            )
