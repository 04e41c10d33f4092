"""Processes of their own, for what must not happen to the process of the tests: crashes, forks, other modules.

The code of a scene finds `uris` (what it was given), `sign(key)`, which verifies too, and `said(action)`, which prints
`done` or the class of the error.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tokens.keys import TokenRSAPrivateKey

PRELUDE = """
import faulthandler, os, sys, threading, hsm_dicom, tokens
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from tokens.errors import TokenError
faulthandler.enable()
uris = sys.argv[1:]
def sign(key):
    how = (ec.ECDSA(hashes.SHA256()),) if isinstance(key, ec.EllipticCurvePrivateKey) else (
        padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(key.sign(b"data", *how), b"data", *how)
def said(action):
    try:
        action()
        answer = "done"
    except TokenError as error:
        answer = type(error).__name__
    sys.stdout.write(answer + "\\n")  # in one piece: several threads may be here
    sys.stdout.flush()
"""

PKCS1 = padding.PKCS1v15()

TIMEOUT = 60.0
"""Seconds that a scene may last."""


def begin(code: str, *uris: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a scene."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PRELUDE + textwrap.dedent(code), *map(str, uris)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def end(scene: subprocess.Popen[str]) -> list[str]:
    """The lines that it printed; it must end well, and in time."""
    try:
        printed, complaint = scene.communicate(timeout=TIMEOUT)
    finally:
        scene.kill()
        scene.wait()
    assert scene.returncode == 0, complaint
    return printed.splitlines()


def play(code: str, *uris: object, environment: Mapping[str, str] | None = None) -> list[str]:
    """A whole scene; returns the lines that it printed."""
    return end(begin(code, *uris, environment=environment))


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def sign(key: TokenRSAPrivateKey) -> None:
    """What a scene calls by this name, here: sign with an RSA key, and verify."""
    key.public_key().verify(key.sign(b"data", PKCS1, hashes.SHA256()), b"data", PKCS1, hashes.SHA256())
