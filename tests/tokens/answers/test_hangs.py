"""Every function that hangs, in every job: the caller leaves at its deadline, and the token is used again later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.tokens.answers.hung import SHOWS_LATE_EFFECT, Hung
from tests.tokens.answers.jobs import JOBS
from tests.tokens.answers.standard import MAY_RETURN
from tests.tokens.answers.table import IN_MEMORY, environment
from tests.tokens.proxy import Proxy
from tokens import errors

PROCESSES = 5
"""They run at the same time: most of it passes with waiting."""

TIMEOUT = 120.0
"""Seconds for all jobs of a process, and for its end while a call hangs."""

ENDS_SOMETHING = ("C_CloseSession", "C_Finalize", "C_Logout")
"""Functions that are called when a job has its result."""

PRESENTS_A_PIN = ("C_Login", "C_SetPIN", "C_InitToken")


@pytest.fixture(scope="module")
def played(proxy_module: Path) -> list[Hung]:
    """The jobs, after which each process has ended while a call hung."""
    names = list(JOBS)
    with ExitStack() as stack:
        begun = [stack.enter_context(begin(proxy_module, names[part::PROCESSES])) for part in range(PROCESSES)]
        lines = [json.loads(line) for process in begun for line in end(process)]
    assert [line for line in lines if "end" in line] == [{"end": "TokenTimeoutError"}] * PROCESSES
    return [Hung(**line) for line in lines if "end" not in line]


@contextmanager
def begin(module: Path, names: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process that plays jobs, in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name)
        proxy = Proxy(Path(shutil.copy(module, folder)), folder)
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.tokens.answers.hanging", proxy.module, *names]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment(proxy), stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


def end(process: subprocess.Popen[str]) -> list[str]:
    """Return the lines of a process, which must end by itself."""
    printed, complaint = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, f"{process.returncode}: {complaint[-4000:]}"
    return printed.splitlines()


def test_the_caller_leaves_with_its_own_error(played: list[Hung]) -> None:
    for one in played:
        assert one.seconds < 10, one
        if one.outcome == "recovered":
            assert one.function in ENDS_SOMETHING, one
            continue
        assert issubclass(getattr(errors, one.outcome), errors.TokenTimeoutError | errors.ModuleFencedError), one
        assert one.text == " ".join(one.text.split()), one
        assert one.text.endswith("."), one
        assert one.function in one.text, one


def test_the_token_is_used_again_when_the_call_has_returned(played: list[Hung]) -> None:
    for one in played:
        assert one.then in ("recovered", *SHOWS_LATE_EFFECT), one


def test_a_pin_that_was_not_answered_is_a_third_state_and_not_presented_meanwhile(played: list[Hung]) -> None:
    for one in played:
        if one.function in PRESENTS_A_PIN and (one.job, one.function) != ("initialise a token", "C_Login"):
            assert one.outcome in ("LoginTimeoutError", "CeremonyTimeoutError"), one
        presented = [line.split()[0] for line in (*one.pins, *one.later)]
        # The call that hangs, and the job's own call afterwards.
        assert all(presented.count(call) <= 2 for call in presented), one


def test_every_function_hangs_in_some_job_and_some_function_in_every_job(played: list[Hung]) -> None:
    assert {one.function for one in played if one.called} == set(MAY_RETURN)
    assert {one.job for one in played if one.called} == set(JOBS)
