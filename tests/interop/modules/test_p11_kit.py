"""SoftHSM behind `p11-kit server`: a token at the other end of a connection that can break.

The module in our process is p11-kit's client; the keys are in another process. The client makes a new instance of
itself for each call of C_GetFunctionList, so that its owner and python-pkcs11 must share one.
"""

import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote import CLIENT, PASSES_PARAMETERS, Server
from tests.softhsm import new_token


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, softhsm: Path) -> Iterator[Server]:
    token = new_token()
    token.generate("rsa")
    token.generate("ec", "p256")
    made = Server(tmp_path_factory.mktemp("p11"), token)
    made.start()
    yield made
    made.kill()


PRELUDE = f"""
import sys, tokens
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from tokens.errors import TokenError
from tokens.events import KeyUse, Reconnection, subscribe
from tokens.uri import Pkcs11Uri
PKCS1, PSS = padding.PKCS1v15(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)
def open_key(label):
    return tokens.open_key(Pkcs11Uri(token=sys.argv[1], object=label), module={str(CLIENT)!r}, pin=sys.argv[2])
def sign(key, scheme=PKCS1):
    key.public_key().verify(key.sign(b"data", scheme, hashes.SHA256()), b"data", scheme, hashes.SHA256())
def say(text):
    print(text, flush=True)
def wait():
    return sys.stdin.readline()
"""


class Client:
    """A process of ours that uses the token through the server; it stops where its code says `wait()`."""

    def __init__(self, server: Server, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), server.token.label, server.token.pin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **server.client_environment},
        )

        self.said: queue.Queue[str] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.said.put(line.strip())

    def line(self) -> str:
        return self.said.get(timeout=30)

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        with self.process.stderr as stderr:
            complaint = stderr.read()
        status = self.process.wait(timeout=60)
        self.listener.join()
        assert status == 0, complaint
        said = [self.line()]
        while not self.said.empty():
            said.append(self.line())
        return "\n".join(said)


def test_keys_at_the_other_end_sign(server: Server) -> None:
    client = Client(
        server,
        """
        heard = []
        with open_key("rsa") as key, subscribe(heard.append):
            sign(key)
            sign(key, PSS)
        say(" ".join(event.mechanism for event in heard if isinstance(event, KeyUse)))
        with open_key("ec") as key:
            key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))
        """,
    )
    pss = "CKM_SHA256_RSA_PKCS_PSS" if PASSES_PARAMETERS else "CKM_RSA_PKCS_PSS"
    assert client.end().split() == ["CKM_SHA256_RSA_PKCS", pss]


def test_a_server_that_was_killed_and_started_again_is_found_again(server: Server) -> None:
    client = Client(
        server,
        """
        heard = []
        with open_key("rsa") as key, subscribe(heard.append):
            sign(key)
            say("ready")
            wait()
            sign(key)
        say(next(event.step for event in heard if isinstance(event, Reconnection)))
        """,
    )
    assert client.line() == "ready"
    server.kill()
    server.start()
    client.go_on()
    assert client.end().strip() == "initialised the module and logged in again"


def test_while_the_server_is_away_there_is_one_sentence_and_afterwards_a_signature(server: Server) -> None:
    client = Client(
        server,
        """
        with open_key("rsa") as key:
            sign(key)
            say("ready")
            wait()
            for _ in range(2):
                try:
                    sign(key)
                except TokenError as error:
                    say(f"{type(error).__name__}: {error}")
            wait()
            sign(key)
            say("signed")
        """,
    )
    assert client.line() == "ready"
    server.kill()
    client.go_on()
    for _ in range(2):
        said = client.line()
        assert said.startswith("TokenLostError: ")
        assert "Put the token back or restore the connection" in said
    server.start()
    client.go_on()
    assert client.end().strip() == "signed"


def test_threads_that_lose_the_server_in_the_middle_all_end_well_or_in_a_sentence(server: Server) -> None:
    client = Client(
        server,
        """
        import threading, time
        results = []
        with open_key("rsa") as key:
            sign(key)
            stop = time.monotonic() + 3
            def work():
                while time.monotonic() < stop:
                    try:
                        sign(key)
                        results.append("signed")
                    except TokenError as error:
                        results.append(type(error).__name__)
                        time.sleep(0.05)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads: thread.start()
            say("ready")
            for thread in threads: thread.join()
            sign(key)
        say(" ".join(sorted(set(results))))
        """,
    )
    assert client.line() == "ready"
    time.sleep(0.5)
    server.kill()
    time.sleep(0.3)
    server.start()
    outcomes = client.end().split()
    assert "signed" in outcomes
    assert set(outcomes) <= {"signed", "TokenLostError"}


def test_a_forked_child_has_a_connection_of_its_own_and_the_parent_stays_logged_in(server: Server) -> None:
    client = Client(
        server,
        """
        import os
        with open_key("rsa") as key:
            sign(key)
            anchor = key.device._connection._anchor
            if os.fork() == 0:
                sign(key)
                say("child")
                os._exit(0)
            os.wait()
            sign(key)
            say(f"parent {key.device._connection._anchor is anchor}")
        """,
    )
    assert client.end().splitlines() == ["child", "parent True"]
