"""The process in which jobs meet the answers of a token: `python -m tests.tokens.answers.scene own|all MODULE JOB…`.

Prints one line of JSON for each cell: a job, a function that it calls, a CK_RV, and how often it is returned.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.tokens.answers.job import Job, Reported
from tests.tokens.answers.jobs import JOBS, OWN_FUNCTIONS, fill
from tests.tokens.answers.standard import MAY_RETURN
from tokens import keys, trials
from tokens.errors import TokenError
from tokens.pkcs11 import search
from tokens.pkcs11.login import token_state

RULES, CALLS, PINS = (Path(os.environ[f"PROXY_{name}"]) for name in ("RULES", "CALLS", "PINS"))

_AS_ALWAYS = "C_GetInfo manufacturer=Example"
"""The module is not taken for SoftHSM, for which searches wait and are repeated."""

OFTEN = {"once": " times=1", "always": ""}


FEW = frozenset({0x02, 0x32})
"""CKR_HOST_MEMORY and CKR_DEVICE_REMOVED, for functions that are not a job's purpose."""

ENDS_AN_OPERATION = frozenset({"C_Sign", "C_Encrypt", "C_Decrypt"})
"""Functions that end the operation whatever they return, except CKR_BUFFER_TOO_SMALL (v3.1, 5.2): they are called."""


ABOUT_A_SLOT = frozenset({"C_GetSlotInfo", "C_GetTokenInfo"})
"""Functions that are called for each slot, in any order. Only the slot of the job's token returns the CK_RV."""

LAST = ("C_Finalize", "C_Initialize")
"""Functions that are played last, and only as their job's purpose: some answers outlast the job."""


def main() -> None:
    """Play the jobs: every answer if the first argument is `all`, or every answer of each job's own functions."""
    complete, module, *names = sys.argv[1:]
    hasten()
    give()
    uri = fill(Path(module))
    for name in names:
        job = JOBS[name](uri)
        for function in sorted(functions_of(job), key=lambda name: (name in LAST, name)):
            own = function in OWN_FUNCTIONS.get(name, "").split()
            if function in LAST and not own:
                continue
            for rv in MAY_RETURN[function]:
                if own or complete == "all" or rv in FEW:
                    play_both(Cell(name, function, rv), job)
        job.settle()


def hasten() -> None:
    """Shorten what only takes time: pauses, and the second in which a rate is measured."""
    put(token_state, "PAUSE", 0.0)
    put(token_state, "_BETWEEN_QUERIES", 0.0)
    put(search, "_BETWEEN_QUERIES", 0.0)
    put(trials, "_SECONDS", 0.0)
    put(keys, "REFUSAL_PAUSE", 0.0)


def put(module: ModuleType, name: str, value: object) -> None:
    """Set a constant that exists."""
    getattr(module, name)
    setattr(module, name, value)


def give(*rules: str) -> None:
    """From now on the module answers by these rules."""
    fresh = RULES.with_suffix(".new")
    fresh.write_text("".join(f"{rule}\n" for rule in (_AS_ALWAYS, *rules)))
    fresh.rename(RULES)


def functions_of(job: Job) -> set[str]:
    """Return the functions that the job calls."""
    job.prepare()
    CALLS.write_text("")
    job.run()
    called = set(CALLS.read_text().splitlines())
    job.settle()
    job.is_ready = False
    return called


@dataclasses.dataclass(frozen=True)
class Cell:
    """A job, a function that it calls, and what the function returns."""

    job: str
    function: str
    rv: int

    def rule(self, often: str) -> str:
        """Return the rule of the proxy module."""
        called = self.function in ENDS_AN_OPERATION and self.rv != 0x150
        called |= (self.function, self.rv) == ("C_Finalize", 0x190)
        about = f" token={JOBS[self.job].label}" if self.function in ABOUT_A_SLOT else ""
        return f"{self.function} rv={self.rv:#x}{about}{' after=1' if called else ''}{OFTEN[often]}"


def play_both(cell: Cell, job: Job) -> None:
    """Print what the job makes of an answer that is given once, and of one that is always given."""
    first = play(cell, job, "once")
    # A function that was called once would have been answered no differently.
    always = play(cell, job, "always") if first.pop("called") > 1 else {**first, "often": "always"}
    always.pop("called", None)
    for played in (first, always):
        print(json.dumps(dataclasses.asdict(cell) | played), flush=True)


def play(cell: Cell, job: Job, often: str) -> dict[str, Any]:
    """Carry out the job with one answer, and once more without it if it failed."""
    if not job.is_ready:
        job.prepare()
    PINS.write_text("")
    CALLS.write_text("")
    give(cell.rule(often))
    outcome, text = attempt(job.run)
    called = CALLS.read_text().splitlines().count(cell.function)
    give()
    pins = presented()
    if outcome == "recovered":
        outcome, text = attempt(job.verify)
    then = "" if outcome == "recovered" else attempt(job.run)[0]
    later = presented()[len(pins) :]
    job.is_ready = job.leaves_no_trace and not (pins or later) and then in ("", "recovered")
    if not job.is_ready:
        job.settle()
    return {
        "often": often,
        "outcome": outcome,
        "then": then,
        "text": text,
        "called": called,
        "pins": pins,
        "later": later,
    }


def presented() -> list[str]:
    """Return the PINs so far, as "C_Login 1234 0x0 forwarded"."""
    return PINS.read_text().splitlines()


def attempt(run: Callable[[], None]) -> tuple[str, str]:
    """Return how a job ended, and the sentence that a person reads."""
    try:
        run()
    except TokenError as error:
        return type(error).__name__, str(error)
    except Reported as report:
        return "reported", str(report)
    except ValueError as error:
        return ("rejected", "") if str(error) == "Decryption failed." else ("! ValueError", repr(error))
    except Exception as error:  # what must not happen is a row too
        return f"! {type(error).__name__}", repr(error)
    return "recovered", ""


if __name__ == "__main__":
    main()
