"""What every job is: something done with a token, which can be undone and checked."""

from __future__ import annotations

import dataclasses
import itertools

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

import tokens
from tokens import DeviceManager
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromEnvironment
from tokens.uri import Pkcs11Uri

SHA256, PKCS1, DATA = hashes.SHA256(), padding.PKCS1v15(), b"data"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
DES_KEY, OTHER_DES_KEY = "133457799bbcdff1", "0123456789abcdef"
CHALLENGE, ANSWER = bytes.fromhex("0123456789abcdef"), bytes.fromhex("85e813540f0ab405")
"""The well-known worked example of DES with `DES_KEY`."""

PIN, NEW_PIN, SO_PIN = (FromEnvironment(f"ANSWERS_{name}") for name in ("PIN", "NEW_PIN", "SO_PIN"))

numbers = itertools.count(1)


class Reported(Exception):
    """The job ended with a report of what does not work. Its text is the first sentence."""


class Wrong(Exception):
    """The job ended without an error, and its result is wrong."""


def require(right: bool) -> None:
    """Raise `Wrong` unless a result is right."""
    if not right:
        raise Wrong


class Job:
    """A job on the token `answers`, which has the keys `rsa`, `ec` and `decrypt`, and two secret keys."""

    label = "answers"
    object: str | None = None
    leaves_no_trace = False
    """Whether the job changes nothing on the token, so that the next answer may meet the same connection."""

    def __init__(self, token: Pkcs11Uri) -> None:
        self.token = token
        self.uri = dataclasses.replace(token, object=self.object)
        self.manager = DeviceManager()
        self.is_ready = False
        """Whether `prepare` was called, and the connection is as it left it."""

    def prepare(self) -> None:
        """Do what comes before the job."""

    def run(self) -> None:
        """Do the job."""
        raise NotImplementedError

    def verify(self) -> None:
        """Raise `Wrong` unless the token shows that the job was done. Called while the token answers well again."""

    def settle(self) -> None:
        """Undo the job as far as it was done, and forget every connection and every refused PIN."""
        self.manager.close()
        self.manager = DeviceManager()
        for record in RefusalMemory().folder.glob("refused-*.json"):
            record.unlink(missing_ok=True)  # a late answer may have settled it meanwhile


class OpenTokenJob(Job):
    """A job with a connection that is logged in already."""

    def prepare(self) -> None:
        self.connection = tokens.open_token(self.token, manager=self.manager).connection
        self.connection.connect()

    def again(self) -> None:
        """Connect without a fault, to undo the job."""
        super().settle()
        OpenTokenJob.prepare(self)
