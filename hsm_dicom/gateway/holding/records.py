"""The signatures that a route has made, and what the target answered: a file that survives the gateway.

An object is signed once. The signature is on disk before the first octet of the signed object is sent, so that a
sender that repeats the same octets, also after a crash, never gets another object with the same SOP Instance UID to the
target. Kept is what the signature inserts, and not the object: the sender brings that again.

SQLite (WAL, synchronous=FULL) makes each signature durable by one fsync. A status is written with the next signature or
at the end: if it is lost, the same object is sent once more.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

from hsm_dicom.network.errors import SettingsError

_LONGEST_KEPT_DAYS = 30.0
_PRUNE_SECONDS = 600.0
_BUSY_SECONDS = 10.0

_TABLE = """
CREATE TABLE IF NOT EXISTS signatures (
    route TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    received_sha256 BLOB NOT NULL,
    insertion BLOB NOT NULL,
    signature_uid TEXT NOT NULL,
    made_at REAL NOT NULL,
    status INTEGER,
    is_answered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (route, sop_instance_uid, received_sha256)
) WITHOUT ROWID
"""
_COLUMNS = "received_sha256, insertion, signature_uid, status, is_answered"

Key = tuple[str, str, bytes]
"""Route, SOP Instance UID, and SHA-256 of what was received."""


@dataclass(frozen=True)
class SignatureRecord:
    """A signature of this node. `status` is the target's, None as long as it has not answered.

    `is_answered` says whether the caller was there to get the status.
    """

    received_sha256: bytes
    insertion: bytes = field(repr=False)
    signature_uid: str
    status: int | None = None
    is_answered: bool = False


class SignatureRecords:
    """The records in one file, for all routes that use its folder. Thread-safe.

    `open_records` returns the same object for the same file, so that a reload does not forget what is noted.
    """

    def __init__(self, file: Path, keep_hours: float = 24.0) -> None:
        """Open or make the file, mode 0600. Raises `SettingsError` if that is not possible."""
        self.keep_seconds = keep_hours * 3600
        self._lock = threading.Lock()
        self._statuses: dict[Key, tuple[int, bool]] = {}
        self._pruned_at = 0.0
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._database = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"The record of signatures {file} cannot be opened: {error}.",
                remedy="See that this user can write the folder. If the file is damaged, move it away; then objects "
                "that are sent again are signed anew.",
            ) from error

    def find(self, route: str, sop_instance_uid: str) -> list[SignatureRecord]:
        """Return the signatures over objects with this UID, one for each content that came. Raises `OSError`."""
        with self._lock:
            rows = self._execute(
                f"SELECT {_COLUMNS} FROM signatures WHERE route = ? AND sop_instance_uid = ?",  # noqa: S608
                (route, sop_instance_uid),
            ).fetchall()
            records = [_make_record(*row) for row in rows]
            return [self._with_status((route, sop_instance_uid, one.received_sha256), one) for one in records]

    def add(
        self, route: str, sop_instance_uid: str, record: SignatureRecord, *, is_only: bool = False
    ) -> SignatureRecord | None:
        """Store a signature durably, and return it; or the one that another association has stored meanwhile.

        With `is_only`, nothing is stored if an object with other content has been signed, and None returned. Raises
        `OSError`.
        """
        with self._lock:
            self._execute("BEGIN IMMEDIATE")
            try:
                self._write_statuses()
                self._prune()
                if is_only and self._has_other(route, sop_instance_uid, record.received_sha256):
                    self._execute("COMMIT")
                    return None
                self._execute(
                    "INSERT OR IGNORE INTO signatures (route, sop_instance_uid, received_sha256, insertion, "
                    "signature_uid, made_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        route,
                        sop_instance_uid,
                        record.received_sha256,
                        record.insertion,
                        record.signature_uid,
                        time.time(),
                    ),
                )
                row = self._execute(
                    f"SELECT {_COLUMNS} FROM signatures "  # noqa: S608
                    "WHERE route = ? AND sop_instance_uid = ? AND received_sha256 = ?",
                    (route, sop_instance_uid, record.received_sha256),
                ).fetchone()
                self._execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.rollback()
                raise
            return _make_record(*row)

    def settle(self, key: Key, status: int, is_answered: bool) -> None:
        """Note what the target answered. It is written with the next signature, or at the end."""
        with self._lock:
            self._statuses[key] = status, is_answered

    def flush(self) -> None:
        """Write what is noted. A failure, such as a full disk, has the same objects sent once more."""
        with self._lock, contextlib.suppress(OSError):
            self._write_statuses()

    # -- inside -----------------------------------------------------------------------------------------------

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise OSError(f"the record of signatures: {error}") from error

    def _with_status(self, key: Key, record: SignatureRecord) -> SignatureRecord:
        noted = self._statuses.get(key)
        return record if noted is None else replace(record, status=noted[0], is_answered=noted[1])

    def _has_other(self, route: str, sop_instance_uid: str, received_sha256: bytes) -> bool:
        found = self._execute(
            "SELECT 1 FROM signatures WHERE route = ? AND sop_instance_uid = ? AND received_sha256 <> ?",
            (route, sop_instance_uid, received_sha256),
        )
        return found.fetchone() is not None

    def _write_statuses(self) -> None:
        for key, (status, is_answered) in self._statuses.items():
            self._execute(
                "UPDATE signatures SET status = ?, is_answered = ? "
                "WHERE route = ? AND sop_instance_uid = ? AND received_sha256 = ?",
                (status, is_answered, *key),
            )
        self._statuses.clear()

    def _prune(self) -> None:
        """Remove what is older than it is kept; what has no status yet, much later."""
        now = time.time()
        if 0 <= now - self._pruned_at < _PRUNE_SECONDS:
            return
        self._pruned_at = now
        self._execute(
            "DELETE FROM signatures WHERE made_at < ? OR (made_at < ? AND status IS NOT NULL)",
            (now - max(self.keep_seconds, _LONGEST_KEPT_DAYS * 86400), now - self.keep_seconds),
        )


def _make_record(
    received_sha256: bytes, insertion: bytes, signature_uid: str, status: int | None, is_answered: int
) -> SignatureRecord:
    return SignatureRecord(received_sha256, insertion, signature_uid, status, bool(is_answered))


# Associations that began before a reload use the records, too, so that the last user closes them.
_opened: WeakValueDictionary[Path, SignatureRecords] = WeakValueDictionary()
_opening = threading.Lock()


def open_records(file: Path, keep_hours: float) -> SignatureRecords:
    """Return the records in a file. Raises `SettingsError` if it cannot be opened."""
    with _opening:
        records = _opened.get(file)
        if records is None:
            records = _opened[file] = SignatureRecords(file, keep_hours)
        records.keep_seconds = keep_hours * 3600
        return records
