"""Two programs that use one card at the same time: none loses an authentication, and none inherits the other's PIN."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.cards.daemon import ROOT
from tests.cards.fixtures import DES_KEYS, PIN, PutIn

READER = "Rig A 00 00"
ROUNDS = 500

PROGRAM = f"""
import os, sys
from tests.cards.authentication import des
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from tests.cards.fixtures import AUTHENTICATION_CARD
from tokens.opening import open_secrets
from tokens.smartcard.profile_table import read_profile

def other_party(challenge):
    encryptor = Cipher(des(bytes.fromhex({DES_KEYS["81"]!r})), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()

os.environ["CARD_PIN"] = {PIN!r}
uri = "card:reader=Rig%20A%2000%2000;profile=test;sharing=transactions"
done = 0
with open_secrets(uri, pin="env:CARD_PIN", profiles={{"test": read_profile("test", AUTHENTICATION_CARD)}}) as secrets:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range({ROUNDS}):
        with secrets.authentication(1, wait=30.0) as a:
            theirs = number.to_bytes(8, "big")
            assert a.internal_authenticate(theirs) == other_party(theirs)
            a.external_authenticate(other_party(a.challenge))
            done += 1
print(done)
"""


def test_two_programs_authenticate_500_times_each_and_none_is_lost(put_in: PutIn, pin: str) -> None:
    card = put_in()
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    said = [program.communicate(timeout=120)[0] for program in programs]
    assert said == [f"{ROUNDS}\n", f"{ROUNDS}\n"]
    state = card.do("state")
    assert state["calls"]["82"] == 2 * ROUNDS
    assert state["tries"] == {"01": 3}
    assert state["verified"] == {"01": False}
