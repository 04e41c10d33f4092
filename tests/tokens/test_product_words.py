"""`tokens` knows no product: no command, option, environment variable, configuration key, exit status or DICOM word."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import tokens
from hsm_dicom.config import Configuration
from hsm_dicom.remedies import _REMEDIES, remedy_of
from tokens import errors
from tokens.errors import Facts, Reason, TokenError

WORDS = re.compile(r"hsm-dicom|hsm_dicom|HSM_DICOM_|(?<![\w-])--[a-z][a-z-]+|exit status|exit code|DICOM|PS3\.")

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Lines that may keep such a word: the file and a part of the line, with the reason."""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every configuration model that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _keys(model: type[BaseModel]) -> set[str]:
    """The keys of a configuration table, and of the tables in it."""
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            found |= _keys(inner)
    return found


def _files() -> list[Path]:
    return sorted(Path(tokens.__file__).parent.rglob("*.py"))


def _prose(file: Path) -> Iterator[str]:
    """The lines of comments and strings of a file."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield from token.string.splitlines()


def _is_excepted(file: Path, line: str) -> bool:
    return any(file.as_posix().endswith(name) and part in line for name, part in EXCEPTIONS)


def test_no_line_of_tokens_has_a_word_of_the_product() -> None:
    assert len(_files()) > 50
    found = [
        f"{file}:{number}: {line.strip()}"
        for file in _files()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if WORDS.search(line) and not _is_excepted(file, line)
    ]
    assert found == []


def test_no_sentence_of_tokens_has_a_table_or_a_key_of_the_configuration() -> None:
    tables = "|".join(sorted(Configuration.model_fields))
    keys = "|".join(sorted(_keys(Configuration)))
    assert "identities" in tables
    assert "login_failures" in keys
    # A key as one writes it in the file, and a table's heading.
    written = re.compile(rf"(?<![\w.\[`])(?:{keys}) = |\[\[?(?:{tables})[\].]")
    found = [
        f"{file}: {line.strip()}"
        for file in _files()
        for line in _prose(file)
        if written.search(line) and not _is_excepted(file, line)
    ]
    assert found == []


def test_the_search_finds_what_it_looks_for() -> None:
    for line in ("run: hsm-dicom token list", "add --last-try", "see PS3.15", "$HSM_DICOM_STATE", "exit status 77"):
        assert WORDS.search(line)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_remedy_in_the_words_of_the_product(reason: Reason) -> None:
    assert reason in _REMEDIES
    for facts in (
        Facts(reason=reason, uri="pkcs11:token=x", reference="4711", path="/p", weaknesses=("short",)),
        Facts(reason=reason, uri="card:reader=x", reference="4711", role="user", attended=True),
        Facts(reason=reason, uri="pkcs11:token=x", role="so"),
    ):
        error = TokenError("It failed.", remedy="Its own remedy.", facts=facts)
        worded = remedy_of(error)
        assert worded is None or worded[0].isupper() or worded.startswith("--")
        assert error.remedy == worded or (worded is None and error.remedy == "Its own remedy.")
        assert str(error) == f"It failed. {error.remedy}"


def test_without_a_product_an_error_has_the_remedy_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_tables", [])
    facts = Facts(reason=Reason.PIN_RECORDED, reference="4711")
    assert str(TokenError("It failed.", remedy="Clear it.", facts=facts)) == "It failed. Clear it."
