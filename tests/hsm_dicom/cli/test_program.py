"""The program as a whole: help, version, errors as one line, exit statuses, colour."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.errors import exit_status
from hsm_dicom.cli.program import app
from tests.hsm_dicom.cli.conftest import Node, Run, run_program
from tests.softhsm import MODULE, TestToken, new_token
from tokens.errors import LoginTimeoutError, PinNotPresentedError, TokenBusyError

HEAVY = ("pkcs11", "cryptography", "pydicom", "pydantic", "tokens.opening", "tokens.pkcs11")


def commands() -> list[tuple[str, ...]]:
    groups = [((group.name or "",), group.typer_instance) for group in app.registered_groups]
    found = [(c.name or "",) for c in app.registered_commands]
    for name, group in groups:
        assert group is not None
        found += [(*name, c.name or "") for c in group.registered_commands if not c.hidden]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_has_help_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.status == 0
    assert f"Example: hsm-dicom {' '.join(command)}" in result.said


def test_help_loads_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys\nfrom hsm_dicom.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    quickest = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        quickest = min(quickest, time.perf_counter() - started)
    assert "LOADED []" in done.stderr
    assert quickest < 2  # about 0.3 s where nothing else runs


def test_the_version_is_reported(run: Run) -> None:
    assert re.fullmatch(r"hsm-dicom \d+\.\d+\.\d+\n", run("--version").out)


def test_without_arguments_help_is_shown() -> None:
    assert "Begin with: hsm-dicom demo" in run_program().said


def test_a_misspelt_command_is_a_usage_error(run: Run) -> None:
    assert run("singn").status == exits.USAGE


def test_an_error_is_one_line_on_standard_error(run: Run) -> None:
    result = run("token", "list", "--module", "/nowhere.so")
    assert result.status == exits.FAILED
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("hsm-dicom: There is no PKCS#11 module at /nowhere.so")


def test_only_verbose_shows_the_traceback_and_no_value_in_it(token: TestToken) -> None:
    uri = token.uri(pin=False)
    quiet = run_program("token", "login", uri, "--pin", "env:WRONG", WRONG="s3cret-pin")
    loud = run_program("token", "login", "-v", uri, "--pin", "env:WRONG", WRONG="s3cret-pin")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert "s3cret-pin" not in quiet.err + loud.err


def test_the_exit_status_for_refused_pins_is_the_one_that_is_promised() -> None:
    assert exits.REFUSED == os.EX_NOPERM == 77


def test_a_service_may_be_started_again_after_a_login_that_was_not_answered() -> None:
    """The next process finds on record whether it may present the PIN, and ends with 77 if it may not."""
    assert exit_status(LoginTimeoutError()) == exit_status(TokenBusyError()) == exits.FAILED
    assert exit_status(PinNotPresentedError()) == exits.REFUSED


def test_a_pin_on_the_command_line_is_refused_and_not_repeated(run: Run, node: TestToken) -> None:
    result = run("key", "list", node.uri(pin=False), "--pin", "not-a-source")
    assert result.status == exits.USAGE
    assert "Invalid value for --pin: A PIN source is one of" in result.said
    assert "not-a-source" not in result.said


def test_a_source_that_cannot_be_read_is_a_failure_and_no_refusal(
    run: Run, softhsm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may be started again after it: nothing was presented."""
    uri = new_token().uri(pin=False)  # that nothing in this process is logged in to
    monkeypatch.delenv("NO_PIN_HERE", raising=False)
    for name, mode in (("open.pin", 0o644), ("empty.pin", 0o600)):
        (tmp_path / name).write_text("" if name == "empty.pin" else "1234")
        (tmp_path / name).chmod(mode)
    sources = [f"file:{tmp_path}/{name}.pin" for name in ("nosuch", "open", "empty")]
    for source in (*sources, "env:NO_PIN_HERE", "fd:987", "pinpad"):
        assert run("token", "login", uri, "--pin", source).status == exits.FAILED, source
    assert run_program("token", "login", uri, "--pin", "prompt").status == exits.FAILED


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("token", "init", "--module", MODULE, "--label", "x", "--so-pin", "12345678"), "--so-pin"),
        (("token", "init", "--module", MODULE, "--label", "x", "--so-pin", "fd:9", "--pin", "12345678"), "--pin"),
        (("token", "change-pin", "pkcs11:token=x", "--new-pin", "12345678"), "--new-pin"),
    ],
)
def test_each_option_for_a_pin_says_that_it_takes_a_source(run: Run, command: tuple[str, ...], option: str) -> None:
    result = run(*command)
    assert result.status == exits.USAGE
    assert f"Invalid value for {option}: A PIN source is one of" in result.said
    assert "12345678" not in result.said


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_speaks_no_python(run: Run, command: tuple[str, ...]) -> None:
    said = run(*command, "--help").out
    assert not re.search(r"<(list|int|str|bool|float|Path)\b", said)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sign", "x", "--in-place", "--profile", "auth"), "'--profile': 'auth' is not one of 'none'"),
        (("secret", "list", "x", "--index", "9"), "No such option"),
        (
            ("secret", "delete", "x", "--use", "encryption", "--index", "9"),
            "'--index': The value should be less than or equal to 8",
        ),
    ],
)
def test_a_wrong_value_is_said_in_our_words(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.status == exits.USAGE
    assert words in " ".join(result.said.replace("│", " ").split())


def test_a_file_that_is_not_there_is_named_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("signatures", "list", "nosuch.dcm").err.count("nosuch.dcm") == 1


def test_colour_is_only_for_terminals_that_want_it(node: TestToken) -> None:
    assert "\x1b[" not in run_program("token", "list", "--module", MODULE).out
    coloured = run_program("token", "list", "--module", MODULE, FORCE_COLOR="1", TERM="xterm", NO_COLOR="")
    plain = run_program("token", "list", "--module", MODULE, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert "\x1b[1m" in coloured.out
    assert not re.search(r"\x1b\[3\d", plain.out)


def test_a_terminal_without_our_signs_gets_words(node: TestToken) -> None:
    result = run_program("token", "login", node.uri(), PYTHONIOENCODING="ascii")
    assert result.out.startswith("ok Token 'node'")


def test_a_reader_that_goes_away_leaves_no_traceback(node: TestToken) -> None:
    listing = f"{sys.executable} -c 'from hsm_dicom.cli import main; main()' token list --module {MODULE}"
    done = subprocess.run(["sh", "-c", f"{listing} | true"], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_a_broken_configuration_stops_every_command_with_its_first_problem(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[tokens.a]\nlabel = 3\n")
    config.chmod(0o600)
    result = run("token", "list", "--config", config)
    assert result.status == exits.FAILED
    assert f"{config}:1: tokens.a.module" in result.said
    assert "1 more" in result.said


def test_a_shell_completes_commands_and_configured_names(signing_node: Node) -> None:
    def completed(words: str) -> list[str]:
        environment = {"_HSM_DICOM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return run_program(**environment, HSM_DICOM_CONFIG=str(signing_node.config)).out.split()

    assert completed("hsm-dicom tok") == ["token"]
    assert completed("hsm-dicom token info ") == ["ct-room", "node"]
    assert completed("hsm-dicom sign --identity ") == ["node"]
