"""Two sound ends that differ in a key or a setting, or whose device fails: each says what was wrong, and nothing is
sent or taken that is not allowed.
"""

from __future__ import annotations

from typing import Any

import pytest

from hsm_dicom.iscl import (
    AuthenticationError,
    Encryption,
    ErrorCode,
    ISCLContext,
    ISCLError,
    ISCLSettings,
    Mac,
    Weakness,
)
from hsm_dicom.iscl.errors import DeviceFailedError, RemoteProtocolError
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.bad_peers import E, failure_of
from tests.hsm_dicom.iscl.independent import Refused
from tests.hsm_dicom.iscl.lines import Ends, independent, line, meanwhile, settings, sockets
from tests.softhsm import new_token
from tokens import open_secrets, open_token
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret
from tokens.secrets import Use


def test_both_ends_say_what_was_wrong_when_their_keys_differ(ends: Ends) -> None:
    differing = ISCLSettings(authentication_key=1)
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex("7ca110454a1a6e57"))
    with (
        open_secrets(token.uri()) as others,
        sockets() as (a, b),
        meanwhile(lambda: ISCLContext(differing, ends.ours).wrap_socket(a, True)) as serving,
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            ISCLContext(differing, ends.theirs, authentication=others).wrap_socket(b)
        assert caught.value.code is E.PEER_REFUSED
        failure = failure_of(serving)
        assert isinstance(failure, AuthenticationError)
        assert "Compare the check values" in str(failure)


@pytest.mark.parametrize(
    ("server", "client", "code"),
    [
        ({"encryption": Encryption.NONE}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"mac": Mac.DES_MAC}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"unique_keys": True}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"encryption_key": 2}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"max_message": 99}, {}, E.PEER_LIMIT_TOO_SMALL),
    ],
)
def test_ends_that_are_not_set_alike_tell_each_other(
    ends: Ends, server: dict[str, Any], client: dict[str, Any], code: ErrorCode
) -> None:
    with line(ends, settings(**server), settings(**client)) as (serving, asking):
        with meanwhile(lambda: serving.recv(1)) as received:
            with pytest.raises(RemoteProtocolError) as caught:
                asking.sendall(bytes(100))
            assert caught.value.code is code
            failure = failure_of(received)
        assert isinstance(failure, RemoteProtocolError)
        assert failure.code in (E.METHOD_NOT_ACCEPTABLE, E.OWN_LIMIT_TOO_SMALL)
        assert serving.peer_encryption is Encryption.DES_CBC
        assert serving.peer_mac is Mac.MD5
        assert serving.peer_requested_length == 100


@pytest.mark.usefixtures("softhsm")
def test_a_device_that_fails_in_the_handshake_is_reported_as_such() -> None:
    """The key is deleted after the context was made: the client's device then has no answer to the challenge."""
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex("133457799bbcdff1"))
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("0123456789abcdef"))
    with open_secrets(token.uri()) as secrets, sockets() as (a, b):
        context = ISCLContext(settings(), secrets)
        with open_token(token.uri()) as connection:
            delete_secret(connection, Use.AUTHENTICATION, 1)
        with meanwhile(independent(b, True).handshake) as done:
            with pytest.raises(DeviceFailedError) as caught:
                context.wrap_socket(a)
            refused = failure_of(done)
    assert caught.value.code is E.OWN_DEVICE_FAILED
    assert caught.value.__cause__ is not None
    assert isinstance(refused, Refused)
    assert refused.args[:2] == (peer_side.PASS_2, 0x6F00)


def test_through_data_is_neither_sent_nor_accepted_unless_allowed(ends: Ends) -> None:
    allowed = settings(allow={Weakness.THROUGH_MODE})
    with line(ends, allowed, settings()) as (serving, asking):
        with pytest.raises(ISCLError) as caught:
            asking.send_through(b"unprotected")
        assert caught.value.code is E.THROUGH_MODE_CLOSED
        with meanwhile(lambda: asking.recv(1)) as received:
            serving.send_through(b"unprotected")
            failure = failure_of(received)
        assert isinstance(failure, RemoteProtocolError)
        assert failure.code is E.THROUGH_MODE_CLOSED
