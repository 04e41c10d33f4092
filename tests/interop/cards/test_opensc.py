"""Cards through OpenSC's PKCS#11 module, as any PKCS#11 token: an OpenPGP card and a CAC that others wrote.

OpenSC is loaded in a process of its own, as it is by whoever uses it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cards.daemon import ROOT, Daemon
from tests.cards.foreign import USER_PIN, foreign_card, make_openpgp_key

READER = "Rig B 00 01"
MODULE = next(Path("/usr/lib").glob("*/opensc-pkcs11.so"), Path("/usr/lib/opensc-pkcs11.so"))
CONFIGURATION = "app opensc-pkcs11 { pkcs11 { max_virtual_slots = 64; } }"
"""OpenSC keeps four slots for each reader, and has 16 by default: those of the first four readers that pcscd lists."""
RSA_2048 = bytes.fromhex("010800002000")


def run(code: str, tmp_path: Path, pin: str = USER_PIN) -> str:
    """Run a program that may use `sign(token, key)`; what it prints."""
    prelude = f"""
    import tokens
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from tokens import open_key
    from tokens.errors import *
    from tokens.uri import Pkcs11Uri

    def opened(token, key):
        return open_key(Pkcs11Uri(token=token, object=key), module={str(MODULE)!r}, pin="env:CARD_PIN")

    def use(key):
        scheme, algorithm = padding.PKCS1v15(), hashes.SHA256()
        key.public_key().verify(key.sign(b"data", scheme, algorithm), b"data", scheme, algorithm)
        print("signed", flush=True)
    """
    settings = tmp_path / "opensc.conf"
    settings.write_text(CONFIGURATION)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HSM_DICOM_STATE": str(tmp_path / "state"), "OPENSC_CONF": str(settings), "CARD_PIN": pin},
    )
    assert done.returncode == 0, done.stderr
    assert pin not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def openpgp(pcscd: Daemon, tmp_path: Path) -> Iterator[None]:
    """An OpenPGP card with a signature key."""
    (tmp_path / "card").mkdir()
    with foreign_card(pcscd, READER, "jcecard", tmp_path / "card"):
        make_openpgp_key(READER, 0xB6, RSA_2048)
        yield


def test_an_openpgp_card_signs_as_a_token_does(openpgp: None, tmp_path: Path) -> None:
    said = run(
        """
        with opened("OpenPGP card (User PIN (sig))", "Signature key") as key:
            use(key)
            print(key.device.attributes.local, key.device.attributes.extractable)
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            try:
                key.sign(b"data", pss, hashes.SHA256())
            except MechanismNotOfferedError as error:
                print(error)
        """,
        tmp_path,
    )
    assert said.splitlines()[:2] == ["signed", "True False"]


def test_a_wrong_pin_is_refused_once(openpgp: None, tmp_path: Path) -> None:
    said = run(
        """
        for attempt in range(2):
            try:
                opened("OpenPGP card (User PIN (sig))", "Signature key")
            except (PinRefusedError, PinNotPresentedError) as error:
                print(type(error).__name__)
        """,
        tmp_path,
        pin="654321",
    )
    assert said.split() == ["PinRefusedError", "PinNotPresentedError"]


def test_a_card_that_hangs_is_left_at_the_deadline_and_used_when_it_answers(pcscd: Daemon, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    with foreign_card(pcscd, READER, "jcecard", tmp_path / "card"):
        make_openpgp_key(READER, 0xB6, RSA_2048)
        card = pcscd.children[-1].pid
        said = run(
            f"""
            import os, signal, time
            from tokens.deadlines import CallDeadlines
            wanted = Pkcs11Uri(token="OpenPGP card (User PIN (sig))", object="Signature key")
            deadlines = CallDeadlines(session=10, sign=1.5, login=10)
            key = open_key(wanted, module={str(MODULE)!r}, pin="env:CARD_PIN", deadlines=deadlines)
            use(key)
            os.kill({card}, signal.SIGSTOP)
            try:
                for _ in range(2):
                    try:
                        use(key)
                    except (TokenTimeoutError, ModuleFencedError) as error:
                        print(type(error).__name__, flush=True)
            finally:
                os.kill({card}, signal.SIGCONT)
            ends = time.monotonic() + 20
            while True:
                try:
                    use(key)
                    break
                except TokenLostError:
                    assert time.monotonic() < ends
                    time.sleep(0.1)
            """,
            tmp_path,
        ).splitlines()
    assert said[:2] == ["signed", "TokenTimeoutError"]
    assert said[2] in ("TokenTimeoutError", "ModuleFencedError")
    assert said[3:] == ["signed"]


def test_a_card_that_was_put_back_is_used_again(pcscd: Daemon, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    with foreign_card(pcscd, READER, "jcecard", tmp_path / "card"):
        make_openpgp_key(READER, 0xB6, RSA_2048)
    waiting, back = tmp_path / "waiting", tmp_path / "back"
    code = f"""
    import pathlib, time
    key = opened("OpenPGP card (User PIN (sig))", "Signature key")
    use(key)
    pathlib.Path({str(waiting)!r}).touch()
    while not pathlib.Path({str(back)!r}).exists():
        time.sleep(0.02)
    use(key)
    key.close()
    """

    def pull_and_put_back() -> None:
        with foreign_card(pcscd, READER, "jcecard", tmp_path / "card"):
            inserted.set()
            while not waiting.exists() and not finished.is_set():
                time.sleep(0.02)
        with foreign_card(pcscd, READER, "jcecard", tmp_path / "card"):
            back.touch()
            finished.wait(60)

    inserted, finished = threading.Event(), threading.Event()
    hand = threading.Thread(target=pull_and_put_back)
    hand.start()
    try:
        assert inserted.wait(20)
        assert run(code, tmp_path).split() == ["signed", "signed"]
    finally:
        finished.set()
        hand.join(20)


def test_a_cac_signs_as_a_token_does(pcscd: Daemon, tmp_path: Path) -> None:
    database = tmp_path / "nss"
    database.mkdir()
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(64))
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True, capture_output=True)
    for name in ("one", "two", "three"):
        subject = ["-s", f"CN={name}", "-n", name, "-x", "-t", ",,", "-g", "2048", "-z", noise]
        subprocess.run([*certutil, "-S", *subject], check=True, capture_output=True)
    with foreign_card(pcscd, READER, "cac", str(database), "one", "two", "three"):
        said = run(
            f"""
            from pathlib import Path
            from tokens import open_token
            from tokens.pkcs11.ceremony import read_keys
            from tokens.pkcs11.module import load_module
            from tokens.pkcs11.search import present_tokens
            present = present_tokens(load_module(Path({str(MODULE)!r})))
            token = next(token for token in present if token.slot_description == {READER!r})
            with open_token(token.uri, pin="env:CARD_PIN") as connection:
                names = [entry.name.label for entry in read_keys(connection)]
            print(len(names))
            with opened(token.label, names[0]) as key:
                use(key)
            """,
            tmp_path,
        )
    assert said.split() == ["3", "signed"]


def test_a_pin_is_locked_after_three_wrong_ones_and_that_is_reported(openpgp: None, tmp_path: Path) -> None:
    said = run(
        """
        from tokens.pins.sources import Pin, Prompt

        class Typed(Prompt):
            def __init__(self, answer): object.__setattr__(self, "answer", answer)
            def read(self, purpose): return Pin(self.answer.encode())

        for answer in ("111111", "222222", "333333", "444444", "123456"):
            try:
                uri = Pkcs11Uri(token="OpenPGP card (User PIN (sig))", object="Signature key")
                open_key(uri, module=MODULE, pin=Typed(answer), last_try=True)
            except PinError as error:
                print(type(error).__name__)
        """.replace("MODULE", repr(str(MODULE))),
        tmp_path,
        pin="not in use",
    )
    # The third try locks the PIN, and the card says so at once; afterwards the right one is held back too.
    assert said.split() == ["PinRefusedError"] * 2 + ["PinLockedError"] * 3
