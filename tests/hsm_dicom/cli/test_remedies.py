"""The remedies of the command line: an option for each error, and no option in the text of a library error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.exceptions import InternalError

import hsm_dicom
from hsm_dicom.cli.errors import sentence
from hsm_dicom.cli.remedies import _FOR_ERRORS, remedy_of
from tokens.errors import Error

IN_VERDICTS = {"remedies.py", "policies/demands.py"}
"""Remedies in a verdict: its JSON, its page and docs/reference/verdict-codes.md show the same text."""
ROOMS = ("signatures", "signing", "validation", "timestamps", "identity")


@pytest.mark.parametrize("kind", _FOR_ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_its_own_remedy(kind: type[Error]) -> None:
    """A base class before its subclass would hide the remedy of the subclass."""
    error = kind.__new__(kind)
    Error.__init__(error, "It failed.")
    assert remedy_of(error) == _FOR_ERRORS[kind]
    assert kind.default_remedy not in (None, _FOR_ERRORS[kind]), "the API needs a remedy without options"


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_of_the_library_names_an_option(room: str) -> None:
    place = Path(hsm_dicom.__file__).parent / room
    option = re.compile(r"[\s(]--[a-z]|hsm-dicom (key|sign|signatures|token)\b")
    for file in sorted(place.rglob("*.py")):
        if room == "validation" and file.relative_to(place).as_posix() in IN_VERDICTS:
            continue
        code = re.sub(r'"""(?s:.*?)"""', "", file.read_text("utf-8"))
        found = [line for line in code.splitlines() if option.search(line)]
        assert found == [], file


def test_cryptography_with_openssl_conf_for_fips_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own OpenSSL has no provider for FIPS, and then computes nothing."""
    monkeypatch.setenv("OPENSSL_CONF", "/etc/ssl/fips.cnf")
    said = sentence(InternalError("Unknown OpenSSL error.", []))
    assert "cannot work with OPENSSL_CONF=/etc/ssl/fips.cnf (InternalError). Unset OPENSSL_CONF;" in said
    assert sentence(ValueError("x")).startswith("Unexpected error (ValueError: x).")
