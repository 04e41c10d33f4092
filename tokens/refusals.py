"""The memory of refused PINs: a PIN that a token refused is not presented to it again.

A token counts wrong PINs and locks. A service that restarts with a stale PIN would lock it within seconds, so
each refusal is kept in the state folder, one small file for each token: its serial number, and for each
refused PIN a random salt and an scrypt digest. The PIN itself is not kept. Whoever reads the file can still
try out short PINs against the digest, slowly; it therefore is readable by its owner only.

The officer clears a token's refusals with `hsm-dicom token forgive` once the PIN has been put right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokens.errors import PinNotPresented, PinSourceError
from tokens.pin import Pin

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that is logging in to the same token."""

_SCRYPT: dict[str, Any] = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}


def default_state_folder() -> Path:
    """Where refusals are kept when nothing was configured.

    $HSM_DICOM_STATE, else systemd's $STATE_DIRECTORY, else /var/lib/hsm-dicom for root, else
    hsm-dicom in $XDG_STATE_HOME (~/.local/state).
    """
    for name in ("HSM_DICOM_STATE", "STATE_DIRECTORY"):
        if os.environ.get(name):
            return Path(os.environ[name].split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hsm-dicom")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "hsm-dicom"


@dataclass(frozen=True)
class Refusal:
    """One refused PIN: for whom, when; and what recognises it."""

    role: str
    when: datetime
    salt: bytes
    digest: bytes


class RefusalMemory:
    """The refused PINs of all tokens, in one folder. Safe between threads and between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_state_folder()

    @contextlib.contextmanager
    def presenting(self, serial: str, role: str, pin: Pin | None) -> Iterator[RefusedPin]:
        """Hold the one right to present a PIN to this token; others wait, so that they learn of a refusal.

        Raises `PinNotPresented` if this PIN was refused before, and `PinSourceError` if a refusal could not
        be remembered (then the PIN must not be presented at all).
        """
        path = self._path(serial)
        with self._locked(path):
            refusals = self._load(path)
            if pin is not None:
                known = next((r for r in refusals if r.role == role and _matches(r, pin)), None)
                if known:
                    raise PinNotPresented(
                        f"This {role} PIN was refused by the token with serial {serial} on "
                        f"{known.when:%Y-%m-%d %H:%M} UTC and is not presented again, since wrong tries lock "
                        f"the token. Put the right PIN in its place, or, if it is right after all, run: "
                        f"hsm-dicom token forgive {serial}"
                    )
            # Written before the PIN goes out: a full disk is found now, not after a refusal.
            self._store(path, refusals)
            yield RefusedPin(self, path, role, pin)

    def refusals(self, serial: str) -> list[Refusal]:
        """What is remembered of one token."""
        return self._load(self._path(serial))

    def forgive(self, serial: str) -> int:
        """Forget all refusals of one token; returns how many there were."""
        path = self._path(serial)
        with self._locked(path):
            count = len(self._load(path))
            path.unlink(missing_ok=True)
        return count

    def _path(self, serial: str) -> Path:
        # A serial number is the token's own text: it must not lead out of the folder.
        plain = re.sub(r"[^A-Za-z0-9]", "_", serial)
        return self.folder / f"refused-{plain}-{hashlib.sha256(serial.encode()).hexdigest()[:8]}.json"

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PinNotPresented(
                            "Another process has been logging in to this token for "
                            f"{LOCK_TIMEOUT:.0f} seconds; see whether the token still answers."
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def _load(self, path: Path) -> list[Refusal]:
        try:
            entries = json.loads(path.read_text("utf-8"))["refused"]
            return [
                Refusal(
                    role=entry["role"],
                    when=datetime.fromisoformat(entry["when"]),
                    salt=bytes.fromhex(entry["salt"]),
                    digest=bytes.fromhex(entry["digest"]),
                )
                for entry in entries
            ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise PinSourceError(
                f"{path}, which remembers refused PINs, cannot be understood; look at it, then remove it."
            ) from error

    def _store(self, path: Path, refusals: list[Refusal]) -> None:
        entries = [
            {"role": r.role, "when": r.when.isoformat(), "salt": r.salt.hex(), "digest": r.digest.hex()}
            for r in refusals
        ]
        beside = path.with_suffix(".new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"refused": entries}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> PinSourceError:
        return PinSourceError(
            f"The state folder {self.folder}, where a refused PIN would be remembered, cannot be used "
            f"({error.strerror}), so no PIN is presented; name a writable folder in $HSM_DICOM_STATE."
        )


@dataclass(frozen=True)
class RefusedPin:
    """The right to present one PIN once, and to say that it was refused."""

    memory: RefusalMemory
    path: Path
    role: str
    pin: Pin | None

    def was_refused(self) -> None:
        """Remember the refusal, on disk, before anything else happens."""
        if self.pin is None:
            return
        salt = os.urandom(16)
        refusal = Refusal(self.role, datetime.now(UTC), salt, _digest(salt, self.pin))
        self.memory._store(self.path, [*self.memory._load(self.path), refusal])


def _digest(salt: bytes, pin: Pin) -> bytes:
    return hashlib.scrypt(pin.octets(), salt=salt, **_SCRYPT)


def _matches(refusal: Refusal, pin: Pin) -> bool:
    return hmac.compare_digest(refusal.digest, _digest(refusal.salt, pin))
