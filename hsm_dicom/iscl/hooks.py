"""What a program may want to hear of an ISCL connection while it lives, and the events that everybody hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hsm_dicom.events import DicomEvent
from hsm_dicom.iscl.errors import ISCLError
from hsm_dicom.iscl.profile import Role


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
    """Every message as it is on the wire, with the end that sent it: see `hsm_dicom.iscl.trace.Recorder`."""


RETIRED = "single DES and MD5 are broken, and DICOM retired ISCL in 2018"


@dataclass(frozen=True, kw_only=True, slots=True)
class IsclReady(DicomEvent):
    """Both ends are authenticated. `remark` says each time that the protection is out of date."""

    peer: str
    role: str
    peer_authentication_data: str
    encryption: str
    mac: str
    unique_keys: bool
    remark: str = RETIRED


@dataclass(frozen=True, kw_only=True, slots=True)
class IsclFailed(DicomEvent):
    """A connection was given up. `code` is the number in `hsm_dicom.iscl.errors.ErrorCode`."""

    peer: str
    role: str
    state: str
    code: int
    reason: str
