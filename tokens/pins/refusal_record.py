"""The record of one device's PINs on disk: those that it did not accept, and the one that it last accepted.

A PIN itself is never stored. A PIN that was not accepted is recognised by an scrypt digest under a random salt. So is
the PIN that was accepted last, if it can be read again on this machine (a file, an environment variable). A typed PIN
is recognised by this process alone, under a key that ends with the process, so that nobody can search for it on the
disk.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from tokens.pins.sources import Pin

_SCRYPT: dict[str, Any] = {"n": 2**15, "r": 8, "p": 1}
_SCRYPT_LENGTH = 32
_SCRYPT_MEMORY = 64 * 1024 * 1024

_KEY_OF_THIS_PROCESS = os.urandom(32)

_MOST_DIGESTS = 256
_digests: dict[bytes, bytes] = {}
"""The scrypt digests of this process, by the keyed digest of what they are of."""


class State(StrEnum):
    """What is known of a PIN that was presented and not accepted. The values are stored and do not change."""

    REFUSED = "refused"
    """The device refused it. It is never presented again."""
    UNCLEAR = "unclear"
    """The device answered with a device error, such as CKR_DEVICE_ERROR, and not that the PIN is wrong."""
    UNANSWERED = "unanswered"
    """The device has not answered: the PIN may be right or wrong, and the device may still count it."""


@dataclass(frozen=True)
class Refusal:
    """One PIN that was presented and not accepted: its role, when it was presented, and its digest."""

    role: str
    when: datetime
    digest: bytes
    state: State = State.REFUSED
    retries: int | None = None
    """What the device reported of its retry counter before; a lower number afterwards means that the PIN was wrong."""


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
                # Releases up to 0.1.0 wrote "unclear": true.
                State(entry.get("state") or (State.UNCLEAR if entry.get("unclear") else State.REFUSED)),
                entry.get("retries"),
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
                {"role": r.role, "when": r.when.isoformat(), "digest": r.digest.hex(), "state": r.state}
                | ({} if r.retries is None else {"retries": r.retries})
                for r in self.refusals
            ],
        }
        if self.accepted is not None:
            content["accepted"] = {"when": self.accepted.when.isoformat(), "digest": self.accepted.digest.hex()}
        content |= {name: True for name in ("low_stays", "shared") if getattr(self, name)}
        return json.dumps(content)

    def digest(self, pin: Pin) -> bytes:
        """Return the digest that recognises a PIN, also after a restart.

        It takes a tenth of a second, and is computed once for each PIN of a device: a login again need not wait for it.
        """
        here = self._digest_here(pin)
        digest = _digests.get(here)
        if digest is None:
            digest = _compute_scrypt(pin, self.salt)
            if len(_digests) >= _MOST_DIGESTS:
                _digests.clear()
            _digests[here] = digest
        return digest

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

    def refuse_unanswered(self, role: str) -> Record:
        """Return the record after the device accepted another PIN of this role: the unanswered ones were wrong."""
        return replace(
            self,
            refusals=tuple(
                replace(r, state=State.REFUSED) if r.role == role and r.state is State.UNANSWERED else r
                for r in self.refusals
            ),
        )

    def settle_by_retries(self, role: str, retries: int, *, exact: bool) -> Record:
        """Return the record after the device reported its retry counter again.

        An unanswered PIN was wrong if the counter is lower than before. If the counter is `exact`, as that of a card,
        the PIN was not wrong otherwise.
        """
        kept = []
        for refusal in self.refusals:
            if refusal.role == role and refusal.state is State.UNANSWERED and refusal.retries is not None:
                if retries >= refusal.retries and exact:
                    continue
                if retries < refusal.retries:
                    refusal = replace(refusal, state=State.REFUSED)
            kept.append(refusal)
        return replace(self, refusals=tuple(kept))

    def _digest_here(self, pin: Pin) -> bytes:
        keyed = hmac.new(_KEY_OF_THIS_PROCESS, self.salt, "sha256")
        keyed.update(pin.octets())
        return keyed.digest()


def _compute_scrypt(pin: Pin, salt: bytes) -> bytes:
    try:
        return hashlib.scrypt(pin.octets(), salt=salt, **_SCRYPT, maxmem=_SCRYPT_MEMORY, dklen=_SCRYPT_LENGTH)
    except ValueError:
        # Python's OpenSSL is in FIPS mode, which has no scrypt. That of the package cryptography is another one, and
        # the digest is the same, so that a record keeps its meaning when the mode changes.
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=salt, length=_SCRYPT_LENGTH, **_SCRYPT).derive(pin.octets())
