"""A smart card service that polkit closes to this user. Debian 12's pcscd knows no polkit: a socket answers so.

The messages are those of pcsc-lite's protocol 4.4 (winscard_msg.h).
"""

import os
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer

import pytest

from tests.cards.daemon import ROOT

pytestmark = pytest.mark.cards

SECURITY_VIOLATION = 0x8010006A

ESTABLISH_CONTEXT, CONNECT, VERSION = 0x01, 0x04, 0x11

CONTEXT = 0x1234567
"""What a context goes by; 0 would be none."""


class Daemon(ThreadingUnixStreamServer):
    """Answers each message as it came, its last four bytes a code. Refuses `refused_at`; for None it hangs up."""

    daemon_threads = True
    refused_at: int | None = VERSION


class Answers(BaseRequestHandler):
    """One client."""

    def handle(self) -> None:
        while header := self._read(8):
            size, command = struct.unpack("=II", header)
            message = self._read(size)
            assert isinstance(self.server, Daemon)
            if self.server.refused_at is None:
                return  # rejected without a word, as pcsc-lite before 2.0 does
            if command == ESTABLISH_CONTEXT:
                message = message[:4] + struct.pack("=I", CONTEXT) + message[8:]
            code = SECURITY_VIOLATION if command == self.server.refused_at else 0
            self.request.sendall(message[:-4] + struct.pack("=I", code))

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self.request.recv(size - len(read))
            if not piece:
                return b""
            read += piece
        return read


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("p")
    with Daemon(str(folder / "s"), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def said_by(daemon: Daemon, code: str) -> str:
    prelude = """
    from tokens import default_manager
    from tokens.errors import TokenError
    from tokens.smartcard.readers.channel import Channel
    from tokens.smartcard.search import list_cards
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, "PCSCLITE_CSOCK_NAME": str(daemon.server_address)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LIST = """
try:
    list_cards(default_manager().cards)
except TokenError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("command", [VERSION, ESTABLISH_CONTEXT])
def test_a_service_that_polkit_closes_to_this_user_is_named_with_the_rule(daemon: Daemon, command: int) -> None:
    daemon.refused_at = command
    said = said_by(daemon, LIST)
    assert said.startswith("CardServiceError: ")
    assert "polkit" in said
    assert "org.debian.pcsc-lite.access_pcsc" in said
    assert "does not answer" not in said


def test_a_card_that_polkit_closes_to_this_user_is_named_with_the_rule(daemon: Daemon) -> None:
    daemon.refused_at = CONNECT
    code = """
    try:
        Channel(default_manager().cards.contexts, "Reader 00 00", exclusive=False)
    except TokenError as error:
        print(f"{type(error).__name__}: {error}")
    """
    said = said_by(daemon, code)
    assert said.startswith("CardServiceError: ")
    assert "org.debian.pcsc-lite.access_card" in said


def test_a_service_that_hangs_up_may_have_been_told_so_by_polkit(daemon: Daemon) -> None:
    daemon.refused_at = None
    said = said_by(daemon, LIST)
    assert said.startswith("CardServiceError: ")
    assert "polkit" in said
