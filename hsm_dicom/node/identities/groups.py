"""The state of an identity whose key is on several tokens, as this process finds it and as others have recorded it.

The breakers of a running listener are in its own memory. What another process can truthfully report is what each token
does now, by one verified signature, and the last change that a process recorded in the event file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.identity import IdentityAccess, read_certificates
from hsm_dicom.identity.siblings import Siblings
from tokens.events import FailedOver, Restored, event_name
from tokens.group import BreakerState, Fault
from tokens.keys import compute_spki_sha256
from tokens.pkcs11.search import TokenInfo

TAIL_BYTES = 8 * 1024 * 1024
"""How much of the end of the event file is searched."""

_FAILED_OVER, _RESTORED = event_name(FailedOver.__new__(FailedOver)), event_name(Restored.__new__(Restored))


@dataclass(frozen=True)
class RecordedChange:
    """The last change of a member that a process recorded. `time` is RFC 3339, in UTC."""

    time: str
    process: int
    state: str
    reason: str

    @property
    def is_running(self) -> bool:
        """Whether a process with this number still runs."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True)
class MemberStatus:
    """One token: the state of its breaker after a probe by this process, its last fault, and the recorded change."""

    name: str
    state: BreakerState
    fault: Fault | None
    token: TokenInfo | None
    recorded: RecordedChange | None


@dataclass(frozen=True)
class GroupStatus:
    """The tokens of one identity.

    `spki_sha256` identifies the public key; it is empty if no token works, and if each has a key of its own (siblings).
    """

    identity: str
    mode: str
    siblings: bool
    spki_sha256: str
    members: tuple[MemberStatus, ...]

    @property
    def is_working(self) -> bool:
        """Whether at least one token works."""
        return any(member.state is BreakerState.CLOSED for member in self.members)

    @property
    def is_complete(self) -> bool:
        """Whether every token works."""
        return all(member.state is BreakerState.CLOSED for member in self.members)


def inspect_group(access: IdentityAccess, group: GroupAccess, events: Path | None = None) -> GroupStatus:
    """Open each token, make one verified signature with each, and report what was found.

    `events` is the event file. Raises `CertificateFileError` for the identity's certificate, and nothing for a token.
    """
    certificates = read_certificates(access.certificate) if access.certificate else ()
    wanted = [one.public_key() for one in certificates]
    recorded = read_recorded_changes(events, access.name)
    if group.siblings:
        chain = read_certificates(access.chain) if access.chain else ()
        pool = Siblings(group, certificates, chain, access.weaknesses).pool
    else:
        pool = group.make_pool(access.weaknesses, wanted.__contains__ if wanted else None)
    try:
        pool.open()
        pool.probe_all()
        key = next((member.key for member in pool.members if member.key is not None), None)
        members = tuple(
            MemberStatus(one.name, one.state, one.breaker.fault, one.token, recorded.get(one.name))
            for one in pool.members
        )
    finally:
        pool.close()
    digest = "" if key is None or group.siblings else compute_spki_sha256(key.public_key())
    return GroupStatus(access.name, group.mode.value, group.siblings, digest, members)


def read_recorded_changes(events: Path | None, identity: str) -> Mapping[str, RecordedChange]:
    """Return the last change of each member of an identity in the event file; nothing if it cannot be read.

    A change that a process recorded which still runs goes before those of processes that have ended.
    """
    changes: dict[tuple[str, int], RecordedChange] = {}
    for line in _read_tail(events) if events is not None else ():
        event = _parse(line)
        if event.get("event") not in (_FAILED_OVER, _RESTORED) or event.get("group") != identity:
            continue
        state = event.get("state", BreakerState.CLOSED.value)
        change = RecordedChange(
            str(event.get("time")), int(event.get("process", 0)), str(state), str(event.get("reason", ""))
        )
        place = str(event.get("member")), change.process
        changes.pop(place, None)  # the last change comes last
        changes[place] = change
    ordered = sorted(changes.items(), key=lambda item: item[1].is_running)
    return {member: change for (member, _), change in ordered}


def _read_tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return []
    return lines[1:] if size > TAIL_BYTES else lines


def _parse(line: bytes) -> dict[str, Any]:
    if b'"group"' not in line:
        return {}
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
