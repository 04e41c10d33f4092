"""The memory of refused PINs: a PIN that a token refused is not presented to it again.

A token counts wrong PINs and locks. A service that restarts with a stale PIN would lock it within seconds, so refusals
are kept in the state folder, one small file for each token: its serial number, a random salt, and for each refused PIN
an scrypt digest. The PIN itself is not kept. Whoever reads the file can still try out short PINs against the digest,
slowly; it therefore is readable by its owner only.

A PIN is entered *before* it is presented, and struck out when the token has taken it: a crash, a power cut or a full
disk in between leaves it entered, and it counts as refused. The officer clears a token's refusals with
`hsm-dicom token forgive` once the PIN has been put right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokens import forking
from tokens.errors import PinNotPresented, PinSourceError, TokenError
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


def role_name(role: str) -> str:
    """Whose PIN it is, as a message says it: user, SO."""
    return "SO" if role == "so" else role


@dataclass(frozen=True)
class Refusal:
    """One PIN that was refused, or presented with no answer known: for whom, when; and what recognises it."""

    role: str
    when: datetime
    digest: bytes


@dataclass(frozen=True)
class _Record:
    """What is kept of one token. One salt for all, so that recognising a PIN costs one scrypt."""

    salt: bytes = field(default_factory=lambda: os.urandom(16))
    refusals: tuple[Refusal, ...] = ()

    def digest(self, pin: Pin) -> bytes:
        return hashlib.scrypt(pin.octets(), salt=self.salt, **_SCRYPT)

    def find(self, role: str, digest: bytes) -> Refusal | None:
        matching = (r for r in self.refusals if r.role == role and hmac.compare_digest(r.digest, digest))
        return next(matching, None)

    def having(self, refusal: Refusal) -> _Record:
        return _Record(self.salt, (*self.without(refusal).refusals, refusal))

    def without(self, refusal: Refusal) -> _Record:
        kept = tuple(r for r in self.refusals if (r.role, r.digest) != (refusal.role, refusal.digest))
        return _Record(self.salt, kept)


class Presentation:
    """One PIN on its way to a token. Unless it is said to be refused, it is struck out when the block ends."""

    def __init__(self) -> None:
        self.refused = False

    def was_refused(self) -> None:
        """The token refused it: the entry stays."""
        self.refused = True


class RefusalMemory:
    """The refused PINs of all tokens, in one folder. Safe between threads and between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_state_folder()

    @contextlib.contextmanager
    def presenting(self, serial: str, role: str, pin: Pin | None) -> Iterator[Presentation]:
        """Hold the one right to present a PIN to this token; others wait, so that they learn of a refusal.

        The PIN is entered as refused, on disk, before the block begins. It is struck out when the block ends well, or
        with a `TokenError` (the device has answered), unless `was_refused` was called; however else the block ends,
        the entry stays. Raises `PinNotPresented` if this PIN was refused before, and `PinSourceError` if a refusal
        could not be remembered (then the PIN must not be presented at all).
        """
        path = self._path(serial)
        with self.locked(path.stem):
            presentation = Presentation()
            if pin is None:
                yield presentation
                return
            record = self._load(path)
            digest = record.digest(pin)
            known = record.find(role, digest)
            if known:
                raise PinNotPresented(
                    f"This {role_name(role)} PIN was refused by the token with serial {serial} on "
                    f"{known.when:%Y-%m-%d %H:%M} UTC, or its answer was lost. It is not presented again, since wrong "
                    "tries lock the token. Give the right one; or, if this is the right one after all, run: "
                    f"hsm-dicom token forgive '{serial}'"
                )
            entry = Refusal(role, datetime.now(UTC), digest)
            self._store(path, record.having(entry))
            try:
                yield presentation
            except TokenError:
                if not presentation.refused:
                    self._store(path, record)
                raise
            if not presentation.refused:
                self._store(path, record)

    def remember(self, serial: str, role: str, pin: Pin) -> None:
        """Enter a PIN that was refused where it was not expected to be, since the token had taken it before."""
        path = self._path(serial)
        with self.locked(path.stem):
            record = self._load(path)
            self._store(path, record.having(Refusal(role, datetime.now(UTC), record.digest(pin))))

    def strike_out(self, serial: str, role: str, pin: Pin) -> None:
        """Forget one PIN, whose answer was lost, and of which the token showed since that it did not refuse it."""
        path = self._path(serial)
        with self.locked(path.stem):
            record = self._load(path)
            self._store(path, record.without(Refusal(role, datetime.now(UTC), record.digest(pin))))

    def refusals(self, serial: str) -> list[Refusal]:
        """What is remembered of one token."""
        return list(self._load(self._path(serial)).refusals)

    def forgive(self, serial: str) -> int:
        """Forget all refusals of one token; returns how many there were."""
        path = self._path(serial)
        with self.locked(path.stem):
            count = len(self._load(path).refusals)
            path.unlink(missing_ok=True)
        return count

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Have one name in the state folder to oneself, among all processes that use the folder."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._demand_private()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.folder / f"{name}.lock", flags, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        with _held.of_this_process(descriptor):
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

    def _path(self, serial: str) -> Path:
        # A serial number is the token's own text: it must not lead out of the folder.
        plain = re.sub(r"[^A-Za-z0-9]", "_", serial)
        return self.folder / f"refused-{plain}-{hashlib.sha256(serial.encode()).hexdigest()[:8]}.json"

    def _load(self, path: Path) -> _Record:
        try:
            content = json.loads(path.read_text("utf-8"))
            refusals = tuple(
                Refusal(entry["role"], datetime.fromisoformat(entry["when"]), bytes.fromhex(entry["digest"]))
                for entry in content["refused"]
            )
            return _Record(bytes.fromhex(content["salt"]), refusals)
        except FileNotFoundError:
            return _Record()
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise PinSourceError(
                f"{path}, which remembers refused PINs, cannot be understood; look at it, then remove it."
            ) from error

    def _store(self, path: Path, record: _Record) -> None:
        entries = [{"role": r.role, "when": r.when.isoformat(), "digest": r.digest.hex()} for r in record.refusals]
        beside = path.with_suffix(".new")
        try:
            beside.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(beside, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump({"salt": record.salt.hex(), "refused": entries}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            self._sync_folder()
        except OSError as error:
            raise self._unusable(error) from error

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _demand_private(self) -> None:
        status = self.folder.stat()
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            raise PinSourceError(
                f"The state folder {self.folder} belongs to another user or may be written by others, so no PIN is "
                f"presented; run: chmod go-w {self.folder}, or name another folder in $HSM_DICOM_STATE."
            )

    def _unusable(self, error: OSError) -> PinSourceError:
        return PinSourceError(
            f"The state folder {self.folder}, where a refused PIN would be remembered, cannot be used "
            f"({error.strerror}), so no PIN is presented; name a writable folder in $HSM_DICOM_STATE."
        )


class _HeldLocks:
    """The lock files that this process holds, which a forked child must not hold along with it."""

    def __init__(self) -> None:
        self._descriptors: set[int] = set()
        forking.register(self)

    @contextlib.contextmanager
    def of_this_process(self, descriptor: int) -> Iterator[None]:
        self._descriptors.add(descriptor)
        try:
            yield
        finally:
            if descriptor in self._descriptors:
                self._descriptors.discard(descriptor)
                # Not left to close(): a child that was forked a moment ago may share the open file.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def before_fork(self) -> None:
        """Nothing to wait for."""

    def after_fork_in_parent(self) -> None:
        """Nothing was changed."""

    def after_fork_in_child(self) -> None:
        """The parent goes on holding its locks alone."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


_held = _HeldLocks()
