"""Every answer of a token, in every job: recovered, or one sentence and the right error. No PIN is presented too often.

`make soak` plays every answer in every job. The ordinary run plays them where the function is the job's purpose, and a
few in the other jobs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import RUNS
from tests.tokens.answers.jobs import OWN_FUNCTIONS
from tests.tokens.answers.standard import MAY_RETURN
from tests.tokens.answers.table import FILE, PARTS, Played, outcomes, play, read
from tokens import errors
from tokens.pkcs11.calls.return_values import name_of

COMPLETE = RUNS > 1

SAID_IN_WORDS = {
    "CKR_PIN_INCORRECT": "was refused by token",
    "CKR_PIN_LOCKED": "PIN of token",
    "CKR_USER_PIN_NOT_INITIALIZED": "was never set",
    "CKR_SESSION_EXISTS": "is in use",
    "CKR_USER_ALREADY_LOGGED_IN": "CKR_USER_NOT_LOGGED_IN",
    "CKR_CRYPTOKI_ALREADY_INITIALIZED": "was initialised by other code",
    "CKR_MECHANISM_INVALID": "offers none of",
    **dict.fromkeys(("CKR_ATTRIBUTE_SENSITIVE", "CKR_ATTRIBUTE_TYPE_INVALID", "CKR_BUFFER_TOO_SMALL"), "not report"),
}
"""What messages say instead of some CK_RVs."""

WRONG = {"C_Login": (0xA0, 0xA1, 0xA2), "C_SetPIN": (0xA0,), "C_InitToken": (0xA0,)}
"""CK_RVs about a wrong PIN. The others may be about the new PIN."""

UNCLEAR = (0x02, 0x05, 0x06, 0x30, 0x31, 0x32, 0x50, 0x91, 0x80000001)
"""CK_RVs of a token that may have counted a wrong PIN."""


@pytest.fixture(scope="module", params=list(PARTS))
def played(request: pytest.FixtureRequest, proxy_module: Path) -> list[Played]:
    """The jobs of one process, with their answers."""
    return play(proxy_module, PARTS[request.param], complete=COMPLETE)


def test_each_answer_has_the_outcome_of_the_table(played: list[Played]) -> None:
    found = outcomes(played)
    table = read(FILE.read_text())
    assert {key: table.get(key, "not in the table") for key in found} == found
    if COMPLETE:
        assert found.keys() == {key for key in table if key[0] in {one.job for one in played}}


def test_each_failure_is_one_sentence_that_names_the_answer(played: list[Played]) -> None:
    for one in played:
        if one.outcome in ("recovered", "rejected"):
            continue
        assert one.outcome == "reported" or issubclass(getattr(errors, one.outcome), errors.TokenError), one
        assert one.outcome != "TokenError", one
        assert one.text == " ".join(one.text.split()), one
        assert one.text.endswith("."), one
        named = name_of(one.rv)
        goes_on = named == "CKR_BUFFER_TOO_SMALL" and "CKR_OPERATION_ACTIVE" in one.text  # its operation has not ended
        assert named in one.text or goes_on or SAID_IN_WORDS[named] in one.text, one


def test_after_each_failure_the_next_attempt_succeeds_or_asks_for_another_pin(played: list[Played]) -> None:
    for one in played:
        if (one.outcome, one.then) == ("PinRefusedError", "PinNotPresentedError"):
            continue
        if (one.function, name_of(one.rv)) == ("C_GetMechanismInfo", "CKR_MECHANISM_INVALID"):
            continue  # an explicit answer, which is remembered while the connection lasts
        assert one.then in ("", "recovered"), one


def test_no_pin_is_presented_again_after_a_refusal_and_once_after_an_unclear_answer(played: list[Played]) -> None:
    for one in played:
        answers: dict[tuple[str, str], list[int]] = {}
        for line in (*one.pins, *one.later):
            call, pin, rv, _ = line.split()
            if (call, int(rv, 16)) == ("C_InitToken", 0):
                answers.pop(("C_Login", pin), None)  # it has set this PIN of the security officer anew
            answers.setdefault((call, pin), []).append(int(rv, 16))
        for (call, _), given in answers.items():
            assert not any(rv in WRONG[call] for rv in given[:-1]), one
            assert sum(rv in UNCLEAR for rv in given) <= 1, one
            assert sum(rv != 0 for rv in given) <= 2, one


def test_the_table_has_every_answer_of_every_function() -> None:
    table = read(FILE.read_text())
    for function, answers in MAY_RETURN.items():
        played = {rv for _, called, rv in table if called == function}
        assert played == set(answers), function
    for job, functions in OWN_FUNCTIONS.items():
        assert all((job, function, rv) in table for function in functions.split() for rv in MAY_RETURN[function]), job
