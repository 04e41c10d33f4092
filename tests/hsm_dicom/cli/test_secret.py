"""`hsm-dicom secret` on a real SoftHSM: the ceremony of two officers, and what may go wrong in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.secret import SecretUse
from tests.hsm_dicom.cli.conftest import Result, Run, run_program, type_in
from tests.softhsm import TestToken, new_token
from tokens.algorithms.des_keys import check_value, combine
from tokens.secrets import Use

FIRST, SECOND, THIRD = "1122334455667788", "fedcba9876543210", "0f1e2d3c4b5a6978"
WHOLE = check_value(combine([bytearray.fromhex(FIRST), bytearray.fromhex(SECOND)])).hex()
AUTHENTICATION = ("--use", "authentication", "--index", "1")
ENCRYPTION = ("--use", "encryption", "--index", "1")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name two components in files, and the check value of their key."""
    return [*from_files(tmp_path, FIRST, SECOND), "--check-value", WHOLE]


def from_files(folder: Path, *components: str) -> list[str]:
    options = []
    for number, component in enumerate(components, 1):
        path = folder / f"component-{number}"
        path.write_text(f"{component}\n")
        path.chmod(0o600)
        options += ["--component", f"file:{path}"]
    return options


def secrets_on(run: Run, token: TestToken) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = run("secret", "list", token.uri(), "--json").json["secret_keys"]
    return listed


def assert_no_component_in(result: Result) -> None:
    told = "".join((result.out + result.err).lower().split())
    assert not [component for component in (FIRST, SECOND, THIRD) if component in told]


def test_the_choices_are_those_of_the_library() -> None:
    assert [use.value for use in SecretUse] == [use.value for use in Use]


def test_two_officers_type_their_components_and_see_their_check_values(run: Run, token: TestToken) -> None:
    done = type_in(
        ["secret", "import", token.uri(), *AUTHENTICATION],
        [
            ("Component 1 of 2: ", "1122 3344 5566 7788"),
            ("Component 2 of 2: ", SECOND.upper()),
            ("Are all check values right?", "y"),
        ],
    )
    assert done.status == exits.OK, done.out
    for octets in (FIRST, SECOND):
        assert f"has the check value {check_value(bytearray.fromhex(octets)).hex().upper()}" in done.said
    assert f"The key has the check value {WHOLE.upper()}" in done.said
    assert_no_component_in(done)
    [secret] = secrets_on(run, token)
    assert (secret["use"], secret["index"], secret["check_value"]) == ("authentication", 1, WHOLE)
    assert (secret["sensitive"], secret["extractable"]) == (True, False)


def test_officers_who_see_a_wrong_check_value_stop_the_import(run: Run, token: TestToken) -> None:
    stopped = type_in(
        ["secret", "import", token.uri(), *AUTHENTICATION],
        [("Component 1 of 2: ", FIRST), ("Component 2 of 2: ", THIRD), ("Are all check values right?", "n")],
    )
    assert stopped.status == exits.FAILED
    assert "nothing was imported" in stopped.said
    assert secrets_on(run, token) == []


def test_a_secret_from_its_import_to_its_end(run: Run, token: TestToken, files: list[str]) -> None:
    imported = run("secret", "import", token.uri(), *ENCRYPTION, *files, "--json")
    assert imported.json["schema"] == "hsm-dicom/secret-import/2"
    assert (imported.json["label"], imported.json["form"]) == ("secret-encryption-1", "DES2")
    listed = run("secret", "list", token.uri())
    assert f"encrypts and decrypts, check value {WHOLE.upper()}" in listed.said
    again = run("secret", "import", token.uri(), *ENCRYPTION, *files)
    assert again.status == exits.FAILED
    assert "exists already" in again.err
    assert "--yes 'secret-encryption-1'" in run("secret", "delete", token.uri(), *ENCRYPTION).err
    assert run("secret", "delete", token.uri(), *ENCRYPTION, "--yes", "secret-encryption-1").status == exits.OK
    assert "There is no secret key on" in run("secret", "list", token.uri()).said
    assert "no secret key 'secret-encryption-1'" in run("secret", "delete", token.uri(), *ENCRYPTION).err


def test_three_components_one_of_them_from_a_descriptor(run: Run, token: TestToken, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, f"{THIRD}\n".encode())
    os.close(theirs)
    sources = [*from_files(tmp_path, FIRST, SECOND), "--component", f"fd:{ours}"]
    whole = check_value(combine([bytearray.fromhex(octets) for octets in (FIRST, SECOND, THIRD)])).hex()
    done = run("secret", "import", token.uri(), *AUTHENTICATION, *sources, "--check-value", whole, "--json")
    assert done.json["check_value"] == whole
    assert "Component 3 of 3 has the check value" in done.err


def test_a_key_with_another_check_value_than_expected_is_not_imported(
    run: Run, token: TestToken, tmp_path: Path
) -> None:
    files = from_files(tmp_path, FIRST, SECOND)
    refused = run("secret", "import", token.uri(), *AUTHENTICATION, *files, "--check-value", "000000")
    assert refused.status == exits.FAILED
    assert "check value is not 000000: nothing was imported" in refused.err
    assert secrets_on(run, token) == []


def test_that_a_secret_was_imported_is_no_remark(run: Run, token: TestToken, files: list[str]) -> None:
    run("secret", "import", token.uri(), *AUTHENTICATION, *files)
    assert "remark" not in run("secret", "list", token.uri()).said
    [secret] = run("secret", "list", token.uri(), "--json").json["secret_keys"]
    assert secret["findings"] == []


def test_a_key_for_one_direction(run: Run, token: TestToken, files: list[str]) -> None:
    done = run("secret", "import", token.uri(), *AUTHENTICATION, *files, "--direction", "answer", "--json")
    assert (done.json["encrypts"], done.json["decrypts"]) == (True, False)
    senseless = run("secret", "import", token.uri(), *ENCRYPTION, *files, "--direction", "answer")
    assert senseless.status == exits.USAGE


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        ((FIRST, SECOND[:-1]), "Component 2 of 2 is not 16 hexadecimal digits"),
        ((FIRST, f"{SECOND}1"), "Component 2 of 2 is not 16 hexadecimal digits"),
        ((f"{FIRST[:-1]}x", SECOND), "Component 1 of 2 is not 16 hexadecimal digits"),
        ((FIRST, "0000000000000000"), "Component 2 of 2: This is one of the weak"),
        ((FIRST, FIRST), "This is one of the weak"),
        ((FIRST, ""), "There is no component 2 of 2 in"),
    ],
    ids=["short", "long", "no digit", "zeros", "the same twice", "empty"],
)
def test_a_component_that_cannot_be_right_is_refused_and_not_repeated(
    run: Run, token: TestToken, tmp_path: Path, components: tuple[str, str], sentence: str
) -> None:
    files = [*from_files(tmp_path, *components), "--check-value", WHOLE]
    refused = run("secret", "import", token.uri(), *AUTHENTICATION, *files)
    assert refused.status == exits.FAILED
    assert sentence in refused.said
    assert not [component for component in components if component and component[:-1] in refused.said.lower()]
    assert secrets_on(run, token) == []


def test_no_component_is_in_the_log_or_a_traceback(token: TestToken, files: list[str]) -> None:
    arguments = ["secret", "import", token.uri(), *AUTHENTICATION, *files, "--verbose"]
    told = [run_program(*arguments), run_program(*arguments)]
    assert [result.status for result in told] == [exits.OK, exits.FAILED]
    assert "Traceback" in told[1].err
    for result in told:
        assert_no_component_in(result)


@pytest.mark.parametrize("source", [FIRST, "env:COMPONENT", "pinpad"])
def test_a_component_is_never_an_argument(run: Run, token: TestToken, source: str) -> None:
    named = ["--component", source, "--component", source, "--check-value", WHOLE]
    refused = run("secret", "import", token.uri(), *AUTHENTICATION, *named)
    assert refused.status == exits.FAILED
    assert "prompt, file:PATH or fd:N" in refused.err
    assert source not in refused.err.replace("prompt, file:PATH", "")


def test_without_a_terminal_the_check_value_must_be_said(run: Run, token: TestToken, tmp_path: Path) -> None:
    files = from_files(tmp_path, FIRST, SECOND)
    refused = run("secret", "import", token.uri(), *AUTHENTICATION, *files)
    assert refused.status == exits.USAGE
    assert "say which check value the key must have" in refused.said
    assert "Component 1" not in refused.said
    assert secrets_on(run, token) == []


def test_without_a_terminal_components_are_not_typed(run: Run, token: TestToken, files: list[str]) -> None:
    for named in ([], ["--component", "prompt", *files[2:4]]):
        refused = run("secret", "import", token.uri(), *AUTHENTICATION, *named, "--check-value", WHOLE)
        assert refused.status == exits.USAGE
        assert "--component file:PATH" in refused.said


def test_one_component_is_not_enough(run: Run, token: TestToken, files: list[str]) -> None:
    assert run("secret", "import", token.uri(), *AUTHENTICATION, *files[:2]).status == exits.USAGE


def test_a_generated_secret_is_carried_to_another_token_in_its_components(
    run: Run, token: TestToken, tmp_path: Path
) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    outs = [part for path in paths for part in ("--out", path)]
    made = run("secret", "generate", token.uri(), *ENCRYPTION, *outs, "--json")
    assert made.status == exits.OK, made.err
    assert made.json["schema"] == "hsm-dicom/secret-generate/2"
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    other = new_token()
    components = [part for path in paths for part in ("--component", f"file:{path}")]
    components += ["--check-value", made.json["check_value"]]
    assert run("secret", "import", other.uri(), *ENCRYPTION, *components).status == exits.OK
    assert secrets_on(run, other)[0]["check_value"] == made.json["check_value"]


def test_components_of_a_secret_that_was_not_imported_are_not_left_behind(
    run: Run, token: TestToken, files: list[str], tmp_path: Path
) -> None:
    run("secret", "import", token.uri(), *ENCRYPTION, *files)
    outs = ["--out", tmp_path / "first", "--out", tmp_path / "second"]
    refused = run("secret", "generate", token.uri(), *ENCRYPTION, *outs)
    assert "exists already" in refused.err
    assert not (tmp_path / "first").exists()
    kept = tmp_path / "component-1"
    outs = ["--out", tmp_path / "first", "--out", kept]
    assert "File exists" in run("secret", "generate", token.uri(), *AUTHENTICATION, *outs).err
    assert kept.read_text() == f"{FIRST}\n"
    assert not (tmp_path / "first").exists()


def test_generated_components_are_shown_one_by_one_on_a_screen_that_is_cleared(run: Run, token: TestToken) -> None:
    done = type_in(
        ["secret", "generate", token.uri(), *AUTHENTICATION],
        [
            ("Officer 1 of 2", ""),
            ("Write both down", ""),
            ("Officer 2 of 2", ""),
            ("Write both down", ""),
        ],
    )
    assert done.status == exits.OK, done.out
    enter, leave = "\x1b[?1049h", "\x1b[?1049l"
    screens = [part.partition(leave)[0] for part in done.out.split(enter)[1:]]
    shown = [bytearray.fromhex(s.split("of 2: ")[1].splitlines()[0]) for s in screens]
    assert len(shown) == 2
    assert secrets_on(run, token)[0]["check_value"] == check_value(combine(shown)).hex()


def test_without_a_terminal_generated_components_need_files(run: Run, token: TestToken) -> None:
    assert run("secret", "generate", token.uri(), *AUTHENTICATION).status == exits.USAGE


def test_secrets_of_another_prefix_are_others(run: Run, token: TestToken, files: list[str]) -> None:
    done = run("secret", "import", token.uri("iscl"), *AUTHENTICATION, *files, "--json")
    assert done.json["label"] == "iscl-authentication-1"
    assert secrets_on(run, token) == []
    assert len(run("secret", "list", token.uri("iscl"), "--json").json["secret_keys"]) == 1
