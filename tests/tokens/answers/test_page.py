"""The page on return values says what the table of answers says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tokens.answers.table import FILE, read
from tokens.pkcs11.calls.return_values import VENDOR_DEFINED, name_of

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "return-values.md"

LOST = "recovered | TokenLostError"

SECTIONS = {
    "While a key signs": (
        ("sign with RSA",),
        ("C_SignInit", "C_Sign"),
        {
            "finds the token again": {LOST},
            "uses the next mechanism": {"recovered | MechanismNotOfferedError"},
            "logs in once more": {"recovered | OperationFailedError"},
            "reports the value": {"OperationFailedError"},
        },
    ),
    "When a PIN is presented": (
        ("open a key and sign",),
        ("C_Login",),
        {
            "records the PIN as refused": {"PinRefusedError for good"},
            "reports it; no PIN": {"PinLockedError"},
            "reports that the PIN was never set": {"PinNotPresentedError"},
            "presents the PIN once more": {"LoginUnclearError"},
            "reports that the token is gone": {"TokenLostError"},
            "reports the value": {"OperationFailedError"},
            "goes on": {LOST},
        },
    ),
    "In key management": (
        ("generate a key pair", "delete a key pair", "import a certificate"),
        ("C_CreateObject", "C_DestroyObject", "C_GenerateKeyPair"),
        {
            "reports that the token or its session was lost": {"TokenLostError"},
            "reports that the token offers no way": {"MechanismNotOfferedError"},
            "reports the value": {"OperationFailedError", "recovered | OperationFailedError"},
        },
    ),
}


def rows(section: str) -> Iterator[tuple[str, str]]:
    """The return values and what is done about them, in each row of a section."""
    text = PAGE.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| return value"):
            yield tuple(cell.strip() for cell in line.strip("|").split("|")[:2])


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_says_what_the_table_says(section: str) -> None:
    jobs, functions, sentences = SECTIONS[section]
    table = read(FILE.read_text())
    outcomes = {}
    for (job, function, rv), outcome in table.items():
        if job in jobs and function in functions:
            name = "a value that the maker defined" if rv >= VENDOR_DEFINED else name_of(rv)
            outcomes.setdefault(name, set()).add(outcome)
    listed: set[str] = set()
    for values, done in rows(section):
        (expected,) = [outcome for words, outcome in sentences.items() if done.startswith(words)]
        names = set(re.split(r", ", values))
        if names == {"every other value"}:
            names = outcomes.keys() - listed
        for name in names:
            assert outcomes[name] <= expected, (name, outcomes[name])
        listed |= names
    assert listed == outcomes.keys()
