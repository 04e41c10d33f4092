"""The process in which the functions of a token hang: `python -m tests.tokens.answers.hanging MODULE JOB…`.

Prints one line of JSON for each job and each function that it calls. At the end a call hangs that never returns, and
the process must end in spite of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tokens.answers.hung import SHOWS_LATE_EFFECT, Hung
from tests.tokens.answers.job import Job
from tests.tokens.answers.jobs import JOBS, fill
from tests.tokens.answers.scene import ABOUT_A_SLOT, CALLS, PINS, attempt, functions_of, give, hasten, presented, put
from tokens.pkcs11.calls.call_threads import CallThreads

DEADLINE = 0.2
"""Seconds that each call of the function that hangs may take."""

CHANGES_SOMETHING = frozenset(
    (
        "C_CreateObject",
        "C_DestroyObject",
        "C_GenerateKeyPair",
        "C_InitPIN",
        "C_InitToken",
        "C_Login",
        "C_OpenSession",
        "C_SetPIN",
    )
)
"""Functions that hang once more after they have done what they were called for."""

WAIT = 20.0
"""Seconds within which a token that answers again must be used again."""


def main() -> None:
    """Play the jobs."""
    module, *names = sys.argv[1:]
    hasten()
    give()
    uri = fill(Path(module))
    for name in names:
        job = JOBS[name](uri)
        for function in sorted(functions_of(job)):
            for when in ("before", "after") if function in CHANGES_SOMETHING else ("before",):
                print(json.dumps(dataclasses.asdict(play(name, job, function, when))), flush=True)
    job = JOBS["sign with RSA"](uri)
    job.prepare()
    give("C_Sign hang=1")
    with short_deadline("C_Sign"):
        print(json.dumps({"end": attempt(job.run)[0]}), flush=True)


def play(name: str, job: Job, function: str, when: str) -> Hung:
    """Carry out the job while a function hangs, and again when the call has returned."""
    job.prepare()
    PINS.write_text("")
    CALLS.write_text("")
    about = f" token={job.label}" if function in ABOUT_A_SLOT else ""
    give(f"{function} hang=1{about}{' after=1' if when == 'after' else ''}")
    started = time.monotonic()
    with short_deadline(function):
        outcome, text = attempt(job.run)
    seconds = time.monotonic() - started
    called = function in CALLS.read_text().splitlines()
    give()
    deadline = time.monotonic() + WAIT
    then = ""
    pins = presented()
    while then != "recovered" and time.monotonic() < deadline:
        then, _ = attempt(job.run)
        if then in SHOWS_LATE_EFFECT:
            break
        time.sleep(0.01)
    later = presented()[len(pins) :]
    job.settle()
    return Hung(name, function, when, called, outcome, text, seconds, then, pins, later)


@contextmanager
def short_deadline(name: str) -> Iterator[None]:
    """Allow each call of a function `DEADLINE` seconds during the block; the others get `WAIT`."""
    begin_call = CallThreads.begin_call

    def begin(self: CallThreads, function: str, slot: int | None, seconds: float, kind: str) -> None:
        begin_call(self, function, slot, DEADLINE if function == name else WAIT, kind)

    put(CallThreads, "begin_call", begin)
    try:
        yield
    finally:
        put(CallThreads, "begin_call", begin_call)


if __name__ == "__main__":
    main()
