"""Steps of a ceremony whose answer has not come: a key pair, or an initialised token, that may still appear.

A step is recorded in the state folder before the token is asked, and the record is removed when the token has answered
in time. A record stays after a deadline, a signal, a crash, or an error after which the key pair is there all the same.
It is reported when somebody next looks at the token: the key pair is there, or it is not. The records hold no secret.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

from pkcs11 import exceptions as p11

from tokens.errors import (
    CeremonyTimeoutError,
    Facts,
    PinSourceError,
    Reason,
    TokenBusyError,
    TokenError,
    TokenLostError,
    TokenTimeoutError,
)
from tokens.events import CeremonyStep, OperationOutcome, emit
from tokens.pkcs11.objects import KeyName
from tokens.pkcs11.search import TokenInfo
from tokens.process.state_folder import StateFolder

log = logging.getLogger(__name__)

T = TypeVar("T")

EXPECTED_FOR = timedelta(days=1)
"""How long after the step what it makes may still appear. No call of a token lasts as long."""

_BEGINNING, _ENDING = "unfinished-", ".json"


class Step(StrEnum):
    """The steps that are recorded. The values are stored and do not change."""

    GENERATE = "generate"
    INITIALISE = "initialise"


@dataclass(frozen=True, kw_only=True)
class UnfinishedStep:
    """A step that was begun: of which token, the label and id (CKA_ID) of what it makes, and when, in UTC.

    `answer` is the CK_RV of an error that the token answered in time; empty if it did not answer.
    """

    step: Step
    serial: str
    module: str
    label: str
    id: bytes = b""
    when: datetime
    answer: str = ""

    @property
    def name(self) -> str:
        """What the step makes, for messages."""
        if self.step is Step.GENERATE:
            return f"key pair '{self.label}' (id {self.id.hex()})"
        return f"token '{self.label}'"

    @property
    def is_expected(self) -> bool:
        """Whether it may still appear."""
        return datetime.now(UTC) - self.when < EXPECTED_FOR

    @property
    def date(self) -> str:
        """When the step was begun, for messages."""
        return f"{self.when:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Review:
    """An unfinished step, and whether what it makes was found."""

    step: UnfinishedStep
    found: bool

    @property
    def text(self) -> str:
        """The result as a sentence."""
        did = "generate" if self.step.step is Step.GENERATE else "initialise"
        answer = f"answered {self.step.answer}" if self.step.answer else "did not answer in time"
        asked = f"The device was asked to {did} {self.step.name} on {self.step.date}, and {answer}."
        if self.found:
            return f"{asked} It is there now."
        missing = "It is not there, but may still appear." if self.step.is_expected else "It did not appear."
        return f"{asked} {missing}"


class UnfinishedSteps:
    """The records in one state folder."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    def record(self, step: UnfinishedStep) -> None:
        """Record a step before it begins. A folder that cannot be used is logged, and the step goes on."""
        content = {
            "step": step.step,
            "serial": step.serial,
            "module": step.module,
            "label": step.label,
            "id": step.id.hex(),
            "when": step.when.isoformat(),
            **({"answer": step.answer} if step.answer else {}),
        }
        try:
            with self._folder.lock("unfinished"):  # makes the folder, and checks that nobody else can write to it
                self._folder.write(_file_of(step), json.dumps(content))
        except (PinSourceError, TokenBusyError) as error:
            log.warning("A %s that appears late could not be reported later: %s", step.name, error.message)

    def remove(self, step: UnfinishedStep) -> None:
        """Remove the record of a step that has ended."""
        try:
            self._folder.remove(_file_of(step))
        except PinSourceError as error:
            log.warning("The record of %s could not be removed: %s", step.name, error.message)

    def read(self, kind: Step) -> list[UnfinishedStep]:
        """Return the recorded steps of a kind, the oldest first. A record that cannot be read is logged."""
        found = []
        try:
            names = self._folder.names(_BEGINNING, _ENDING)
        except PinSourceError as error:
            log.warning("Unfinished steps could not be read: %s", error.message)
            return []
        for name in names:
            try:
                step = _parse(self._folder.read(name) or "")
            except (PinSourceError, ValueError, KeyError, TypeError):
                log.warning("%s could not be read.", self._folder.folder / name)
                continue
            if step.step is kind:
                found.append(step)
        return sorted(found, key=lambda step: step.when)

    def of_token(self, serial: str) -> list[UnfinishedStep]:
        """Return the key pairs whose generation on a token was left."""
        return [step for step in self.read(Step.GENERATE) if step.serial == serial]

    def review_keys(self, serial: str, names: Iterable[KeyName]) -> list[Review]:
        """Look for the key pairs of unfinished steps among the names of a token's keys.

        The record of one that is found, or that is no longer expected, is removed: it is reported once.
        """
        there = {(name.label, name.id) for name in names}
        return [self._settle(Review(step, (step.label, step.id) in there)) for step in self.of_token(serial)]

    def review_token(self, token: TokenInfo) -> list[Review]:
        """Return the unfinished initialisation that made this token, whose record is removed."""
        return [
            self._settle(Review(step, True))
            for step in self.read(Step.INITIALISE)
            if (step.label, step.module) == (token.label, str(token.module_path)) and token.initialised
        ]

    def _settle(self, review: Review) -> Review:
        if review.found or not review.step.is_expected:
            self.remove(review.step)
        return review


class Attempt:
    """One step whose caller may leave it, as a context manager.

    In the block, `run` makes the call, in the thread of that call. Raises `CeremonyTimeoutError` at its deadline.
    """

    def __init__(self, records: UnfinishedSteps, step: UnfinishedStep, token: TokenInfo) -> None:
        self._records, self._step, self._token = records, step, token
        self._changing = threading.Lock()
        self._outcome: OperationOutcome | None = None
        self._is_begun = self._is_left = self._is_kept = False

    def run(self, call: Callable[[], T], failure: Callable[[T], str] = lambda _: "") -> T:
        """Make the call, and report its result if the caller has left meanwhile.

        `failure` returns why the result means that nothing was made; empty if something was.
        """
        self._is_begun = True
        try:
            result = call()
        except TokenLostError as error:
            # Before the caller left, this is the call itself, which a module in a process of its own did not answer.
            if self._is_left:
                self._end(f"{type(error).__name__}: {error}")
            raise
        except BaseException as error:
            self._end(f"{type(error).__name__}: {error}")
            raise
        self._end(failure(result))
        return result

    def keep_if_made(self, answer: str, is_there: Callable[[], bool]) -> bool:
        """Return whether what the step makes is there although the token answered with an error, a CK_RV.

        The record is kept in that case, and if the token cannot be asked.
        """
        try:
            found = is_there()
        except (p11.PKCS11Error, TokenError):
            found = None
        if found is not False:
            self._is_kept = True
            self._records.record(replace(self._step, answer=answer))
        return bool(found)

    def __enter__(self) -> Self:
        self._records.record(self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changing:
            self._is_left = self._is_begun and self._outcome is None
        is_interrupted = isinstance(error, TokenLostError) or not isinstance(error, Exception)
        is_made = self._outcome is OperationOutcome.SUCCEEDED and is_interrupted
        if error is None or not (self._is_left or is_made or self._is_kept):
            self._records.remove(self._step)
        elif self._is_left and isinstance(error, TokenTimeoutError):
            raise CeremonyTimeoutError(
                f"{error.message} The {self._step.name} may still appear.",
                remedy="Look whether it is there before you repeat this.",
                facts=Facts(reason=_REASONS[self._step.step], uri=str(self._token.uri)),
            ) from error

    def _end(self, failure: str) -> None:
        outcome = OperationOutcome.FAILED if failure else OperationOutcome.SUCCEEDED
        with self._changing:
            self._outcome = outcome
            is_left = self._is_left
        if not is_left:
            return
        if failure:
            self._records.remove(self._step)
        emit(
            CeremonyStep(
                token_serial=self._token.serial,
                token_label=self._token.label,
                outcome=outcome,
                duration=(datetime.now(UTC) - self._step.when).total_seconds(),
                reason=failure,
                step=self._step.step.value,
                object=self._step.name,
                late=True,
            )
        )


_REASONS = {Step.GENERATE: Reason.KEY_PAIR_UNANSWERED, Step.INITIALISE: Reason.TOKEN_UNANSWERED}


def _file_of(step: UnfinishedStep) -> str:
    identity = json.dumps([step.step, step.serial, step.module, step.label, step.id.hex()])
    return f"{_BEGINNING}{hashlib.sha256(identity.encode()).hexdigest()[:32]}{_ENDING}"


def _parse(text: str) -> UnfinishedStep:
    content = json.loads(text)
    return UnfinishedStep(
        step=Step(content["step"]),
        serial=content["serial"],
        module=content["module"],
        label=content["label"],
        id=bytes.fromhex(content["id"]),
        when=datetime.fromisoformat(content["when"]),
        answer=content.get("answer", ""),
    )
