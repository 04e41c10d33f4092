"""Handshakes go on while one of a node's two tokens is lost or hangs, in a process of its own (see `failover`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokens import scenes

PRELUDE = """
import signal, time
from pathlib import Path
from tests.hsm_dicom.failover import failover_site
with failover_site(Path(uris[0])) as site, site.open(uris[1]) as identity:
"""


def play(folder: Path, identity: str, code: str) -> list[str]:
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    return scenes.play(PRELUDE + body, folder, identity)


def test_no_handshake_fails_when_the_connection_to_a_token_is_lost(softhsm: Path, tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "node",
        """
done = site.handshakes(identity, 100, between=site.server.kill)
print(len(done.seconds), done.failures)
print([member.state.value == "closed" for member in identity.key.device.members])
""",
    )
    assert lines == ["100 []", "[False, True]"]


def test_no_handshake_fails_when_a_token_hangs(softhsm: Path, tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "node",
        """
done = site.handshakes(identity, 100, between=lambda: site.server.signal(signal.SIGSTOP))
print(len(done.seconds), done.failures, done.longest < 10)
print([member.state.value == "closed" for member in identity.key.device.members])
site.server.signal(signal.SIGCONT)
""",
    )
    assert lines == ["100 [] True", "[False, True]"]


@pytest.mark.parametrize("identity", ["far", "node"])
def test_when_the_connection_is_back_the_next_handshake_works(softhsm: Path, tmp_path: Path, identity: str) -> None:
    """On one token it is the reconnection, and with two tokens the other one, that makes it work."""
    lines = play(
        tmp_path,
        identity,
        """
for _ in range(3):
    site.server.kill()
    site.server.start()
    print(site.handshakes(identity, 1, threads=1).failures)
""",
    )
    assert lines == ["[]"] * 3
