"""The record of one device's PINs on disk: those that it refused, and the one that it last accepted.

A PIN itself is never stored. A refused PIN is recognised by an scrypt digest under a random salt. So is the PIN that
was accepted last, if it can be read again on this machine (a file, an environment variable). A typed PIN is recognised
by this process alone, under a key that ends with the process, so that nobody can search for it on the disk.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from tokens.pins.sources import Pin

_SCRYPT: dict[str, Any] = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}

_KEY_OF_THIS_PROCESS = os.urandom(32)


@dataclass(frozen=True)
class Refusal:
    """One PIN that was refused, or presented without a clear answer: its role, time and digest."""

    role: str
    when: datetime
    digest: bytes
    unclear: bool = False
    """The device answered with a device error, such as CKR_DEVICE_ERROR, and not that the PIN is wrong."""


@dataclass(frozen=True)
class Acceptance:
    """The user PIN that the device accepted last (CKR_OK), and when.

    It allows one presentation after an unclear answer, and is removed before that presentation.
    """

    when: datetime
    digest: bytes


@dataclass(frozen=True)
class Record:
    """The record of one device. All PINs share one salt, so that recognising a PIN takes one scrypt."""

    salt: bytes = field(default_factory=lambda: os.urandom(16))
    refusals: tuple[Refusal, ...] = ()
    accepted: Acceptance | None = None
    low_stays: bool = False
    """The device went on to report a low retry counter right after it had accepted the PIN of a person."""
    shared: bool = False
    """Several devices with this serial number were seen."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a record. Raises `ValueError`, `KeyError` or `TypeError`."""
        content = json.loads(text)
        refusals = tuple(
            Refusal(
                entry["role"],
                datetime.fromisoformat(entry["when"]),
                bytes.fromhex(entry["digest"]),
                bool(entry.get("unclear", False)),
            )
            for entry in content["refused"]
        )
        found = content.get("accepted")
        accepted = found and Acceptance(datetime.fromisoformat(found["when"]), bytes.fromhex(found["digest"]))
        return cls(
            bytes.fromhex(content["salt"]),
            refusals,
            accepted,
            bool(content.get("low_stays", False)),
            bool(content.get("shared", False)),
        )

    def __str__(self) -> str:
        content: dict[str, Any] = {
            "salt": self.salt.hex(),
            "refused": [
                {"role": r.role, "when": r.when.isoformat(), "digest": r.digest.hex()}
                | ({"unclear": True} if r.unclear else {})
                for r in self.refusals
            ],
        }
        if self.accepted is not None:
            content["accepted"] = {"when": self.accepted.when.isoformat(), "digest": self.accepted.digest.hex()}
        content |= {name: True for name in ("low_stays", "shared") if getattr(self, name)}
        return json.dumps(content)

    def digest(self, pin: Pin) -> bytes:
        """Return the digest that recognises a PIN, also after a restart."""
        return hashlib.scrypt(pin.octets(), salt=self.salt, **_SCRYPT)

    def find(self, role: str, digest: bytes) -> Refusal | None:
        """Return the refusal of a PIN."""
        matching = (r for r in self.refusals if r.role == role and hmac.compare_digest(r.digest, digest))
        return next(matching, None)

    def has_accepted(self, pin: Pin, digest: bytes) -> bool:
        """Return whether this PIN is the last accepted one; `digest` is what `digest(pin)` returned."""
        if self.accepted is None:
            return False
        known = self.accepted.digest
        return hmac.compare_digest(known, digest) | hmac.compare_digest(known, self._digest_here(pin))

    def add(self, refusal: Refusal) -> Record:
        """Return the record with one more refusal."""
        return replace(self, refusals=(*self.remove(refusal).refusals, refusal))

    def remove(self, refusal: Refusal) -> Record:
        """Return the record without the refusals of a PIN."""
        kept = tuple(r for r in self.refusals if (r.role, r.digest) != (refusal.role, refusal.digest))
        return replace(self, refusals=kept)

    def accept(self, pin: Pin, digest: bytes, when: datetime, *, readable_again: bool) -> Record:
        """Return the record with this PIN as the last accepted one; `digest` is what `digest(pin)` returned."""
        return replace(self, accepted=Acceptance(when, digest if readable_again else self._digest_here(pin)))

    def _digest_here(self, pin: Pin) -> bytes:
        keyed = hmac.new(_KEY_OF_THIS_PROCESS, self.salt, "sha256")
        keyed.update(pin.octets())
        return keyed.digest()
