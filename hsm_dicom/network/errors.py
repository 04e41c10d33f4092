"""Errors between this node and a peer, except those of the handshake (`hsm_dicom.tls.HandshakeError`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hsm_dicom.errors import DicomError


class NetworkError(DicomError):
    """Base of everything that this package raises."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in the settings of a peer or a listener. `key` is the field, and the key of the configuration."""

    key: str
    message: str
    remedy: str


class SettingsError(NetworkError):
    """The settings of a peer or a listener cannot be used.

    The message is that of the first mistake; `mistakes` holds all of them, where more than one can be found at once.
    """

    def __init__(self, message: str = "", *, remedy: str | None = None, mistakes: Sequence[Mistake] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.mistakes = tuple(mistakes)


def raise_mistakes(mistakes: Iterable[Mistake]) -> None:
    """Raise one `SettingsError` for all mistakes, if there are any."""
    found = tuple(mistakes)
    if found:
        raise SettingsError(found[0].message, remedy=found[0].remedy, mistakes=found)


class ConnectError(NetworkError):
    """No TCP connection to the peer came about."""


class ListenError(NetworkError):
    """The address cannot be listened on."""


class PeerNotAuthorisedError(NetworkError):
    """The peer proved an identity, and it is not the one that was expected."""


class AssociationRejectedError(NetworkError):
    """The peer rejected the association. `result`, `source` and `reason` are those of PS3.8, 9.3.4."""

    def __init__(self, sentence: str, result: int, source: int, reason: int) -> None:
        super().__init__(sentence)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationLostError(NetworkError):
    """The association was aborted, or its connection went away."""


class PDUError(NetworkError):
    """A peer sent what is no sound PDU or DIMSE message, or took too long for it.

    The text is what the peer sent, as the object of a sentence: "the peer sent {error}."
    `abort_reason` is the reason for the A-ABORT that answers it (PS3.8, Table 9-26).
    """

    def __init__(self, what: str, abort_reason: int = 0) -> None:
        super().__init__(what)
        self.abort_reason = abort_reason
