"""Every reconstructed property can be set otherwise, and both ends then still understand each other."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest

from hsm_dicom.iscl import Encryption, ErrorCode, ISCLContext, ISCLError, Mac, Role, State, Weakness, WireProfile
from hsm_dicom.iscl.errors import DeviceFailedError
from hsm_dicom.iscl.wire.profile import (
    LAYOUTS,
    AnnouncedLength,
    ByteOrder,
    Fragmenting,
    IvChain,
    Layout,
    MacPadding,
    Md5Order,
    MessageUnit,
    Padding,
    ResponseCode,
    SessionKeyDerivation,
    UniqueKeyForm,
)
from tests.hsm_dicom.iscl.lines import MODES, SECONDS, Ends, line, meanwhile, settings, sockets
from tests.softhsm import new_token
from tokens import open_secrets, open_token
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Use

TURNED_ROUND = tuple(Layout(layout.message, layout.items[::-1]) for layout in LAYOUTS)

OTHERWISE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"byte_order": ByteOrder.LITTLE}, {}),
    ({"reversed_values": True}, {"unique_keys": True}),
    ({"layouts": TURNED_ROUND}, {}),
    ({"unused_fields_ignored": False}, {}),
    ({"version": b"MEDIS-ISCL V9.99"}, {}),
    ({"block_length_counts_header": False}, {}),
    ({"response_code": ResponseCode.DECRYPTED_CHALLENGE}, {}),
    ({"completion_notice": False}, {}),
    ({"unique_key_form": UniqueKeyForm.BARE}, {"unique_keys": True}),
    ({"padding": Padding.ISO_9797_METHOD_2}, {}),
    *(({"iv_chain": chain}, {}) for chain in IvChain),
    ({"mac_padding": MacPadding.METHOD_2}, {"mac": Mac.DES_MAC}),
    ({"mac_length": 4}, {"mac": Mac.DES_MAC}),
    ({"mac_length": 4}, {"mac": Mac.DES_MAC, "encryption": Encryption.NONE}),
    ({"md5_always_encrypted": False}, {"encryption": Encryption.NONE, "allow": {Weakness.NO_MAC}}),
    ({"announced_length": AnnouncedLength.CIPHERTEXT}, {}),
    *(({"fragmenting": Fragmenting.EACH_BLOCK, "iv_chain": chain}, {}) for chain in IvChain),
    ({"fragmenting": Fragmenting.EACH_BLOCK, "padding": Padding.ISO_9797_METHOD_2}, {"max_block_data": 100}),
    ({"fragmenting": Fragmenting.EACH_BLOCK, "announced_length": AnnouncedLength.CIPHERTEXT}, {"max_block_data": 8}),
    ({"fragmenting": Fragmenting.EACH_BLOCK}, {"encryption": Encryption.NONE}),
    ({"message_unit": MessageUnit.PDU}, {}),
    ({"glare_yields": Role.SERVER}, {}),
    ({"disconnection_answered": False}, {}),
    ({"handshake_timeout": 5.0}, {}),
    ({"message_timeout": 5.0}, {}),
    ({"error_number_sent": True}, {}),
]


def pdu(body: bytes) -> bytes:
    return bytes([4, 0]) + len(body).to_bytes(4, "big") + body


def converse(ends: Ends, options: Any) -> None:
    """A few messages each way, and an orderly end."""
    with line(ends, options) as (server, client):
        for length in (2, 100, 9000):
            question, answer = pdu(os.urandom(length)), pdu(os.urandom(length + 1))

            def serve(answer: bytes = answer, length: int = length) -> bytes:
                got = b""
                while len(got) < length + 6:
                    got += server.recv(10_000)
                server.sendall(answer)
                return got

            with meanwhile(serve) as served:
                client.sendall(question)
                got = b""
                while len(got) < len(answer):
                    got += client.recv(10_000)
                assert got == answer
                assert served.result(SECONDS) == question
        with meanwhile(lambda: server.recv(1)) as last:
            client.close()
            assert last.result(SECONDS) == b""
        assert {server.status, client.status} == {State.CLOSED}


@pytest.mark.parametrize(("profile", "options"), OTHERWISE, ids=lambda value: " ".join(map(str, value)) or "-")
def test_both_ends_understand_each_other_under_any_profile(
    ends: Ends, profile: dict[str, Any], options: dict[str, Any]
) -> None:
    converse(ends, settings(profile=WireProfile(**profile), **options))


@pytest.mark.parametrize("encryption", Encryption)
def test_the_other_order_of_the_md5_code_works_with_session_keys_on_the_host(
    host_key_ends: Ends, encryption: Encryption
) -> None:
    profile = WireProfile(md5_order=Md5Order.DIGEST_AFTER_ENCRYPTED_RANDOM)
    converse(host_key_ends, settings(profile=profile, unique_keys=True, encryption=encryption))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_session_keys_on_the_host_work_in_every_mode(host_key_ends: Ends, mode: Any) -> None:
    converse(host_key_ends, settings(mode))


@pytest.mark.parametrize("encryption", Encryption)
@pytest.mark.parametrize("order", Md5Order)
def test_session_keys_by_decryption_work_on_the_host(
    host_key_ends: Ends, order: Md5Order, encryption: Encryption
) -> None:
    profile = WireProfile(session_key=SessionKeyDerivation.DECRYPTED_RANDOM_NUMBER, md5_order=order)
    converse(host_key_ends, settings(profile=profile, unique_keys=True, encryption=encryption))


def test_session_keys_by_decryption_need_leave_since_no_device_keeps_them(ends: Ends) -> None:
    profile = WireProfile(session_key=SessionKeyDerivation.DECRYPTED_RANDOM_NUMBER)
    options = settings(profile=profile, unique_keys=True)
    with line(ends, options) as (server, client), meanwhile(lambda: server.recv(1)) as received:
        with pytest.raises(DeviceFailedError, match="host_session_keys"):
            client.sendall(b"a message")
        assert isinstance(received.exception(SECONDS), ISCLError)


@pytest.mark.parametrize("response_code", ResponseCode)
def test_directional_keys_answer_each_with_its_own(ends: Ends, response_code: ResponseCode) -> None:
    """R8. Authentication key 1 is the client's, 2 the server's; each end can only answer with one of them. Where they
    answer by decryption (R7), a key that answers is one that decrypts."""
    encrypts = response_code is ResponseCode.ENCRYPTED_CHALLENGE
    keys = {1: "133457799bbcdff1", 2: "7ca110454a1a6e57"}
    tokens = {}
    for role, own in ((Role.CLIENT, 1), (Role.SERVER, 2)):
        tokens[role] = new_token()
        with open_token(tokens[role].uri()) as connection:
            for index, value in keys.items():
                mine = index == own
                import_secret(
                    connection,
                    Use.AUTHENTICATION,
                    index,
                    bytearray.fromhex(value),
                    answers=mine is encrypts,
                    verifies=mine is not encrypts,
                )
            import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("0123456789abcdef"))
    profile = WireProfile(directional_keys=True, response_code=response_code)
    directional = settings(profile=profile, server_authentication_key=2)
    with open_secrets(tokens[Role.SERVER].uri()) as serving, open_secrets(tokens[Role.CLIENT].uri()) as asking:
        converse(Ends(serving, asking), directional)
        with sockets() as (a, b), meanwhile(lambda: ISCLContext(directional, serving).wrap_socket(a, True)) as served:
            with pytest.raises(ISCLError) as caught:
                ISCLContext(settings(profile=WireProfile(response_code=response_code)), ends.ours).wrap_socket(b)
            assert caught.value.code is ErrorCode.PEER_NOT_AUTHENTIC
            assert isinstance(served.exception(SECONDS), ISCLError)


def test_ends_with_different_profiles_part_with_a_reason(ends: Ends) -> None:
    little = settings(profile=WireProfile(byte_order=ByteOrder.LITTLE))
    with sockets() as (a, b), meanwhile(lambda: ISCLContext(little, ends.ours).wrap_socket(a, True)) as served:
        with pytest.raises(ISCLError) as caught:
            ISCLContext(settings(), ends.theirs).wrap_socket(b)
        assert caught.value.code is ErrorCode.UNEXPECTED_MESSAGE
        assert isinstance(served.exception(SECONDS), ISCLError)


def test_every_field_of_the_profile_is_tried(ends: Ends) -> None:
    tried = {name for profile, _ in OTHERWISE for name in profile} | {"directional_keys", "md5_order", "session_key"}
    assert tried == {field.name for field in dataclasses.fields(WireProfile)}
