"""Functions that are called during an ISCL connection, and the events of its beginning and failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar

from hsm_dicom.events import DicomEvent
from hsm_dicom.iscl.errors import ISCLError
from hsm_dicom.iscl.wire.profile import Role


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class ISCLHooks:
    """Functions that are called on the thread that caused what they tell of. They must not use the connection."""

    link_ready: Callable[[ISCLError | None], None] = _ignore
    """The handshake is over: None, or why it failed."""

    through_received: Callable[[bytes], None] = _ignore
    """Unprotected data came. It never appears in what `recv` returns."""

    through_sent: Callable[[int], None] = _ignore
    """This many octets of unprotected data were sent."""

    packet: Callable[[Role, bytes], None] | None = None
    """Every message as it is on the wire, with the end that sent it: see `tracing.recording.Recorder`."""


RETIRED = "single DES and MD5 are broken, and DICOM retired ISCL in 2018"


@dataclass(frozen=True, kw_only=True, slots=True)
class IsclReady(DicomEvent):
    """Both ends are authenticated. `remark` says each time that this is out of date, `reason` why it is used at all."""

    level: ClassVar[int] = logging.WARNING
    peer: str
    role: str
    peer_authentication_data: str
    encryption: str
    mac: str
    unique_keys: bool
    reason: str = ""
    remark: str = RETIRED

    @property
    def repetition_key(self) -> Hashable:
        """It holds for every connection with the same peer."""
        return self.role, self.peer_authentication_data, self.reason

    @property
    def text(self) -> str:
        """For a person."""
        keys = "a session key for each message" if self.unique_keys else "fixed keys"
        because = f"; reason: {self.reason.rstrip('.')}" if self.reason else ""
        return (
            f"ISCL with {self.peer}, which calls itself '{self.peer_authentication_data}' (encryption "
            f"{_format_name(self.encryption)}, MAC {_format_name(self.mac)}, {keys}){because}. Beware: {self.remark}."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class IsclFailed(DicomEvent):
    """A connection was given up. `code` is the number in `hsm_dicom.iscl.errors.ErrorCode`.

    `authenticated` says whether the handshake was over.
    """

    level: ClassVar[int] = logging.WARNING
    peer: str
    role: str
    state: str
    code: int
    reason: str
    authenticated: bool

    @property
    def text(self) -> str:
        """For a person."""
        return f"ISCL with {self.peer} failed in the state '{self.state}' (error {self.code}): {self.reason}"


def _format_name(name: str) -> str:
    return "none" if name == "NONE" else name.replace("_", "-")
