"""The deadlines of a token in the configuration."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from hsm_dicom.config import find_token_access, load_configuration, read_configuration
from hsm_dicom.config.sections import DeadlinesSection
from tests.hsm_dicom.config.conftest import problems
from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines

TOKEN = '[tokens.a]\nmodule = "/x.so"\nlabel = "a"\n'


def test_each_kind_of_call_has_its_key_and_its_default() -> None:
    assert DeadlinesSection().model_dump() == asdict(DEFAULT_DEADLINES)


def test_a_token_has_the_deadlines_of_its_table(write) -> None:
    configuration = load_configuration(write(f"{TOKEN}[tokens.a.deadlines]\nsign = 0.5\ngenerate = 900\n"))
    assert find_token_access(configuration, "a").deadlines == CallDeadlines(sign=0.5, generate=900.0)
    assert find_token_access(configuration, "pkcs11:token=a").deadlines == CallDeadlines(sign=0.5, generate=900.0)
    assert find_token_access(configuration, "pkcs11:token=other").deadlines is None


@pytest.mark.parametrize(
    ("value", "text", "remedy"),
    [
        ("0", "The number is too small.", "Write more than 0.0."),
        ("-1", "The number is too small.", "Write more than 0.0."),
        ("7200", "The number is too large.", "Write at most 3600.0."),
        ("inf", "The value must be a number, not inf or nan.", "Write it without quotation marks."),
        ("nan", "The value must be a number, not inf or nan.", "Write it without quotation marks."),
        ('"2"', "The value must be a number.", "Write it without quotation marks."),
        ("true", "The value must be a number.", "Write it without quotation marks."),
        ("[2]", "The value must be a number.", "Write it without quotation marks."),
    ],
)
def test_each_mistake_is_reported_with_its_line(write, value: str, text: str, remedy: str) -> None:
    [problem] = read_configuration(write(f"{TOKEN}[tokens.a.deadlines]\nlogin = {value}\n")).problems
    assert (problem.key, problem.line) == ("tokens.a.deadlines.login", 5)
    assert (problem.text, problem.remedy) == (text, remedy)


def test_an_unknown_kind_and_a_number_for_the_table_are_mistakes(write) -> None:
    found = problems(write(f"{TOKEN}[tokens.a.deadlines]\nsigning = 2\n"))
    assert "is unknown here" in found["tokens.a.deadlines.signing"].text
    assert found["tokens.a.deadlines.signing"].remedy == (
        "Did you mean 'sign'? Known keys: generate, login, person, session, sign."
    )
    found = problems(write(f"{TOKEN}deadlines = 2\n"))
    assert found["tokens.a.deadlines"].text == "The value must be a table."
