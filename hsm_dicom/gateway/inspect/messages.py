"""The messages of one presentation context in one direction, from their fragments (PS3.7, 6.3; PS3.8, Annex E)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from hsm_dicom.gateway.inspect.commands import MOST_OCTETS, make_command_scanner, read_command, read_uid
from hsm_dicom.gateway.inspect.exchanges import Exchanges, Request
from hsm_dicom.gateway.inspect.scanner import Scanner
from hsm_dicom.gateway.inspect.study import STUDY_INSTANCE_UID
from hsm_dicom.gateway.tap import Direction

_IS_COMMAND, _IS_LAST = 1, 2
"""Bits of a message control header (PS3.8, E.2)."""


class _State(Enum):
    BETWEEN = auto()
    """A command set is to come."""
    COMMAND = auto()
    """A command set has begun."""
    DATA = auto()
    """A Data Set is to come, or has begun."""
    LOST_COMMAND = auto()
    """The rest of a command set that is not followed is to come."""
    LOST = auto()
    """The next command set is waited for, and what comes before it belongs to a message that was counted."""


class Messages:
    """The messages of one context and one direction. `make_scanner` returns a scanner for the study, or None."""

    __slots__ = ("_command", "_direction", "_exchanges", "_make_scanner", "_octets", "_request", "_state", "study")

    def __init__(self, direction: Direction, exchanges: Exchanges, make_scanner: Callable[[], Scanner | None]) -> None:
        self.study: Scanner | None = None
        """Looks for the study of the Data Set that arrives, until it is found."""
        self._direction, self._exchanges, self._make_scanner = direction, exchanges, make_scanner
        self._state = _State.BETWEEN
        self._command: Scanner | None = None
        self._octets = 0
        self._request: Request | None = None

    def take(self, control: int, piece: memoryview, ends: bool) -> None:
        """Take the next octets of a value, as `hsm_dicom.gateway.tap.Tap.take` does."""
        is_last = ends and bool(control & _IS_LAST)
        if control & _IS_COMMAND:
            self._take_command(piece, is_last)
        elif self._state is _State.DATA:
            request = self._request
            if request is not None:
                request.size += len(piece)
                if self.study is not None:
                    self._look_for_study(self.study, request, piece)
            if is_last:
                self._end_data_set()
        else:
            self._lose()

    def _take_command(self, piece: memoryview, is_last: bool) -> None:
        if self._state is _State.DATA:
            if self._request is not None:
                self._exchanges.abandon(self._request)
            self._reset(_State.BETWEEN)
        if self._state is not _State.LOST_COMMAND:
            command = self._command
            if command is None:
                command = self._command = make_command_scanner()
                self._octets, self._state = 0, _State.COMMAND
            self._octets += len(piece)
            command.feed(piece)
            if command.is_over or self._octets > MOST_OCTETS:
                self._lose(_State.LOST_COMMAND)
            elif is_last:
                self._end_command(command)
        if is_last and self._state is _State.LOST_COMMAND:
            self._state = _State.LOST

    def _end_command(self, scanner: Scanner) -> None:
        command = read_command(scanner.found) if scanner.is_between_elements else None
        if command is None:
            self._lose()
            return
        self._reset(_State.DATA if command.has_data_set else _State.BETWEEN)
        if command.is_response:
            self._exchanges.answer(self._direction, command)
            return
        request = self._exchanges.begin(self._direction, command)
        if request is not None and command.has_data_set:
            self._request = request
            self.study = self._make_scanner() if request.is_store else None

    def _look_for_study(self, scanner: Scanner, request: Request, piece: memoryview) -> None:
        scanner.feed(piece)
        if scanner.is_over:
            request.study_instance_uid = read_uid(scanner.found.get(STUDY_INSTANCE_UID, b""))
            self.study = None

    def _end_data_set(self) -> None:
        request = self._request
        self._reset(_State.BETWEEN)
        if request is not None:
            self._exchanges.complete(request)

    def _lose(self, state: _State = _State.LOST) -> None:
        """Stop following a message, and count it unless that was done."""
        if self._state not in (_State.LOST, _State.LOST_COMMAND):
            self._exchanges.skip()
        self._reset(state)

    def _reset(self, state: _State) -> None:
        self._state = state
        self._command = self._request = self.study = None
