"""What is said of a file that is not TOML: where, what, and how to correct it, without a word of its content."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config import read_configuration
from hsm_dicom.config.toml_text import TomlTextError, decode_toml, parse_toml


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nb = \u201cx\u201d\n", 2, "typographic quotation marks"),
        ("[t]\na = \u201812\u2019\n", 2, "typographic quotation marks"),
        ("[t.a]\nx = 1\n[u]\n[t.a]\n", 4, "The file has the table [t.a] twice, first in line 1."),
        ("[t]\na = 1\na = 2\n", 3, "The table has this key twice"),
        ("a = {b = 1}\na.c = 2\n", 2, "The table extends one in braces"),
        ("a = PACS\n", 1, "is not TOML"),
        ("a =", 1, "is not TOML"),
        ("just words\n", 1, "The key has no value"),
        ("= 3\n", 1, "neither a table nor a key"),
        ("a = 1 b = 2\n", 1, "Something follows the value"),
        ('a = "x\nb = 2\n', 1, "no closing quotation mark"),
        ("a = 'x\n", 1, "no closing quotation mark"),
        ('a = """x', 1, "no closing quotation mark"),
        ("a = 1\n\n[t\n", 3, "no closing bracket"),
        ('a = "C:\\x"\n', 1, "a backslash"),
        ('a = "x\0"\n', 1, "not TOML"),
    ],
)
def test_each_mistake_has_its_line_and_sentence(text: str, line: int, words: str) -> None:
    with pytest.raises(TomlTextError) as caught:
        parse_toml(text)
    assert caught.value.line == line
    assert words in caught.value.message
    assert caught.value.remedy.endswith(".")


def test_no_sentence_repeats_what_may_be_a_pin() -> None:
    for text in ("pin = 4711 0815\n", "pin = \u201c4711\u201d\n", "pin = '4711\n", 'pin = 4711"\n'):
        with pytest.raises(TomlTextError) as caught:
            parse_toml(text)
        assert "4711" not in str(caught.value)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_toml(decode_toml(b"\xef\xbb\xbf[tokens]\n")) == {"tokens": {}}


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("# one\n# Röntgen\n".encode("latin-1"), 2, "not UTF-8"),
        ("[tokens]\n".encode("utf-16"), 1, "UTF-16"),
    ],
)
def test_other_encodings_are_named(content: bytes, line: int, words: str) -> None:
    with pytest.raises(TomlTextError) as caught:
        decode_toml(content)
    assert (caught.value.line, words in caught.value.message) == (line, True)
    assert "Save" in caught.value.remedy


def test_digits_without_end_are_no_traceback() -> None:
    with pytest.raises(TomlTextError, match="thousands of digits"):
        parse_toml("a = " + "9" * 5000)
    with pytest.raises(TomlTextError):
        parse_toml("a = " + "[" * 5000)


def test_a_problem_of_the_configuration_shows_file_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "hsm-dicom.toml"
    file.write_text("[tokens.a]\n[tokens.a]\n")
    file.chmod(0o600)
    [problem] = read_configuration(file).problems
    assert str(problem).startswith(f"{file}:2:10: The file has the table [tokens.a] twice, first in line 1. ")
