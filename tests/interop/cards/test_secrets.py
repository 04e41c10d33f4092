"""Secrets on different devices at the two ends, and in no memory of ours."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cards.daemon import ROOT
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, PutIn
from tests.interop.modules.test_p11_kit import CLIENT, Server
from tests.softhsm import TestToken
from tests.tokens.secrets.devices import KEYS, Device, nss_device, softhsm_device
from tokens import open_secrets, open_token
from tokens.errors import AuthenticationFailedError
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Secrets, Use
from tokens.smartcard.profile_table import read_profile

PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}
CARD = "card:reader=Rig%20A%2000%2000;profile=test"


def authenticate(server: Secrets, client: Secrets, client_index: int = 1) -> None:
    """Three passes: the server asks first, the client answers and asks, the server answers."""
    with server.authentication(1) as asking, client.authentication(client_index) as answering:
        first = asking.challenge
        response = answering.internal_authenticate(first)
        second = answering.challenge
        asking.external_authenticate(response)
        answering.external_authenticate(asking.internal_authenticate(second))


@pytest.mark.parametrize("other", [softhsm_device, nss_device], ids=["SoftHSM", "NSS"])
@pytest.mark.usefixtures("softhsm")
def test_a_card_and_a_token_authenticate_each_other(put_in: PutIn, pin: str, other: object) -> None:
    put_in()
    device = other()  # type: ignore[operator]
    assert isinstance(device, Device)
    with open_secrets(CARD, pin=pin, profiles=PROFILES) as card, device.open() as token:
        authenticate(card, token)
        authenticate(token, card)
        with pytest.raises(AuthenticationFailedError):
            authenticate(card, token, client_index=2)


def test_a_card_and_a_token_compute_the_same_code(put_in: PutIn, pin: str) -> None:
    put_in()
    message = os.urandom(4096)
    with (
        open_secrets(CARD, pin=pin, profiles=PROFILES) as card,
        softhsm_device().open() as token,
        card.data_key(1) as one,
        token.data_key(1) as other,
    ):
        assert one.mac(message) == other.mac(message)
        assert one.encrypt(message, bytes(range(8))) == other.encrypt(message, bytes(range(8)))
        assert other.decrypt(one.encrypt(message, bytes(8)), bytes(8)) == message


PROGRAM = """
import json, sys
from tokens import open_secrets
from tokens.smartcard.profile_table import read_profile

card_uri, profile, token_uri, rounds = sys.argv[1:]
card = open_secrets(card_uri, pin="env:CARD_PIN", profiles={"test": read_profile("test", json.loads(profile))})
token = open_secrets(token_uri)
code = card.data_key(1)
for number in range(int(rounds)):
    with token.authentication(1) as held:
        held.internal_authenticate(number.to_bytes(8, "big"))
        _ = held.challenge
    code.mac(number.to_bytes(8, "big") * 4)
print("done", flush=True)
sys.stdin.read()
"""


def test_after_a_thousand_operations_no_key_is_in_our_memory(
    put_in: PutIn, token: TestToken, tmp_path: Path, softhsm: Path
) -> None:
    """The authentication key is in another process (p11-kit server), the key for codes on a card."""
    put_in()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex(KEYS[Use.AUTHENTICATION, 1]))
    server = Server(tmp_path, token)
    server.start()
    remote = dataclasses.replace(token.uri(), module_path=CLIENT)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, CARD, json.dumps(AUTHENTICATION_CARD), str(remote), "1000"],
        cwd=ROOT,
        env={**os.environ, "CARD_PIN": PIN, "P11_KIT_SERVER_ADDRESS": f"unix:path={server.socket}"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        content = memory_of(process.pid)
    finally:
        process.kill()
        process.communicate()
        server.kill()
    assert PIN.encode() in content, "the search itself does not work"
    for value in KEYS.values():
        assert bytes.fromhex(value) not in content


def memory_of(process: int) -> bytes:
    """All that a process could write to: its heap, its stacks, its libraries' data."""
    parts = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if rights.startswith("rw") and "[vvar" not in line:
                begin, end = (int(edge, 16) for edge in place.split("-"))
                memory.seek(begin)
                with contextlib.suppress(OSError):
                    parts.append(memory.read(end - begin))
    return b"".join(parts)
