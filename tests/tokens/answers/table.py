"""The checked-in table: what each job makes of each answer of a token.

`python -m tests.tokens.answers.table` plays every job with every answer and writes the table anew. Read what changed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.softhsm import provision_environment
from tests.tokens.answers.jobs import JOBS
from tests.tokens.proxy import Proxy, build
from tokens.pkcs11.calls.return_values import name_of

FILE = Path(__file__).with_name("answers.txt")

HEADER = """\
# What each job makes of each answer of a token: its outcome if a function returns the CK_RV once, and if always.
#
# recovered          the job succeeded, with the right result
# reported           the test of a token ended with a report of what does not work
# rejected           the ciphertext counts as wrong, which a token may say in this way
# …Error             the exception of tokens.errors; in each case the next attempt succeeds once the token answers well
# … for good         the PIN is recorded as refused, so the next attempt does not present it; or the token said what it
#                    offers, which is remembered while the connection lasts
"""

IN_MEMORY = "/dev/shm"
"""Where a token's files are written: thousands of times, and on a disk each takes milliseconds."""

_NAMES = tuple(JOBS)
_LAST = _NAMES.index("open a key and sign") + 1

PARTS = {"use": _NAMES[:_LAST], "manage": _NAMES[_LAST:]}
"""The jobs of each process. One ends with the job in which the module is initialised: some answers outlast it."""

Key = tuple[str, str, int]
"""A job, a function and a CK_RV."""


@dataclass(frozen=True)
class Played:
    """What a job made of an answer."""

    job: str
    function: str
    rv: int
    often: str
    """How often the function returned the CK_RV: once, always."""
    outcome: str
    then: str
    """The outcome of the same job without the answer, if the job failed before."""
    text: str
    """What a person reads."""
    pins: list[str]
    """Each PIN that was presented, such as "C_Login 1234 0x0 forwarded"."""
    later: list[str]
    """Each PIN that was presented by the same job without the answer."""

    @property
    def entry(self) -> str:
        """The outcome, as in the table."""
        return self.outcome if self.then in ("", "recovered") else f"{self.outcome} for good"


def play(module: Path, names: Iterable[str], *, complete: bool) -> list[Played]:
    """Play the jobs in a process of their own, with every answer or with those of each job's own functions."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        shutil.copy(module, folder)
        return _play(Proxy(Path(folder, module.name), Path(folder)), names, complete=complete)


def _play(proxy: Proxy, names: Iterable[str], *, complete: bool) -> list[Played]:
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.tokens.answers.scene",
        "all" if complete else "own",
        proxy.module,
        *names,
    ]
    done = subprocess.run(command, env=environment(proxy), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-4000:]}"
    return [Played(**json.loads(line)) for line in done.stdout.splitlines()]


def environment(proxy: Proxy) -> dict[str, str]:
    """The environment of a process that plays jobs, with a SoftHSM of its own."""
    return {
        **proxy.environment(counted=True),
        **provision_environment(proxy.folder / "softhsm"),
        **dict.fromkeys(("TOKENS_STATE", "HSM_DICOM_STATE"), str(proxy.folder / "state")),
        "ANSWERS_PIN": "11112222",
        "ANSWERS_NEW_PIN": "33334444",
        "ANSWERS_SO_PIN": "55556666",
    }


def outcomes(played: Iterable[Played]) -> dict[Key, str]:
    """Return the outcomes as the table has them: "recovered" or, where they differ, "recovered | TokenLostError"."""
    both: dict[Key, list[str]] = defaultdict(list)
    for one in played:
        both[one.job, one.function, one.rv].append(one.entry)
    return {key: " | ".join(dict.fromkeys(entries)) for key, entries in both.items()}


def write(table: dict[Key, str]) -> str:
    """Return the text of a table."""
    lines = [HEADER]
    for job in JOBS:
        lines.append(f"[{job}]")
        for function in sorted({key[1] for key in table if key[0] == job}):
            lines.append(function)
            grouped: dict[str, list[str]] = defaultdict(list)
            for key in sorted(table):
                if key[:2] == (job, function):
                    grouped[table[key]].append(f"{name_of(key[2])} {key[2]:#x}")
            lines += [f"    {outcome}: {', '.join(names)}" for outcome, names in grouped.items()]
        lines.append("")
    return "\n".join(lines)


def read(text: str) -> dict[Key, str]:
    """Return the table of a text."""
    table: dict[Key, str] = {}
    job = function = ""
    for line in text.splitlines():
        if line.startswith("["):
            job = line.strip("[]")
        elif line.startswith("C_"):
            function = line
        elif line.startswith(" "):
            outcome, _, names = line.strip().partition(": ")
            table |= {(job, function, int(named.split()[-1], 16)): outcome for named in names.split(", ")}
    return table


def main() -> None:
    """Write the table anew."""
    with tempfile.TemporaryDirectory() as folder:
        module = build(Path(folder))
        played = [one for names in PARTS.values() for one in play(module, names, complete=True)]
    FILE.write_text(write(outcomes(played)))


if __name__ == "__main__":
    main()
