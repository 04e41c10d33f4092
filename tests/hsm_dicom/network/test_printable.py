"""What comes from outside never reaches a terminal or a log as it is: no escape sequence, no line that is forged."""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path

import pytest
from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.cli.logs import PrintableFormatter
from hsm_dicom.cli.render import output
from tests.hsm_dicom.cli.conftest import Result, run_program, type_in
from tests.hsm_dicom.network import nodes
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.odd_scp import odd_scp
from tests.hsm_dicom.network.test_cli import Site
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.test_pynetdicom import plain_context
from tests.softhsm import TestToken
from tokens.printable import printable, printable_lines

EVIL = "x\x1b[5;7m\x1b]0;title\x07\nhsm-dicom: forged\u202e"
SHOWN = "x\\x1b[5;7m\\x1b]0;title\\x07\\nhsm-dicom: forged\\u202e"
STYLE = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AKG]|\r")
"""What rich writes: colours, the cursor hidden and shown, lines gone back to and erased."""


def is_clean(result: Result, *, terminal: bool = False) -> bool:
    """Whether nothing but text, and rich's own sequences on a terminal, was printed."""
    text = result.out + result.err
    rest = STYLE.sub("", text) if terminal else text
    return "\x1b[5;7m" not in text and rest.replace("\n", "").isprintable() and "\nhsm-dicom: forged" not in rest


def test_text_is_escaped_in_one_place() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("Köln ✓") == "Köln ✓"
    assert printable_lines("a\x1b\nb") == "a\\x1b\nb"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a file of an evil name that is no DICOM, and one that is."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / EVIL).write_text("no image")
    ct_image(folder, f"{EVIL}.dcm", pixels=512)
    return folder


@pytest.mark.parametrize("verbose", [(), ("-v",)], ids=["quiet", "verbose"])
def test_names_of_files_are_escaped(files: Path, verbose: tuple[str, ...], hospital: Hospital) -> None:
    named = sorted(files.iterdir())
    for command in (["verify", "--trust", hospital.ca_file], ["signatures", "list"], ["sign", "--profile", EVIL]):
        result = run_program(*command, *named, *verbose)
        assert is_clean(result), result
        assert "\\x1b[5;7m" in result.out + result.err, command
        on_terminal = type_in([*command, *named, *verbose], [], columns=400)
        assert is_clean(on_terminal, terminal=True), on_terminal.out


def test_a_usage_error_quotes_its_argument_escaped() -> None:
    for arguments in ([f"--{EVIL}"], ["verify", f"--{EVIL}"], [EVIL], ["store", "pacs", "a", "--attempts", EVIL]):
        result = run_program(*arguments)
        assert result.status == 2
        assert is_clean(result), result
        assert is_clean(type_in(arguments, [], columns=400), terminal=True)


def test_the_error_comment_of_a_peer_is_escaped(hospital: Hospital, node: TestToken, tmp_path: Path) -> None:
    comment = b"evil \x1b[5;7mred\x07\nhsm-dicom: forged"
    with odd_scp(hospital, lambda request: request.answer(0xC123, comment=comment)) as running:
        site = Site(tmp_path)
        more = f'[peers.pacs]\nhost = "127.0.0.1"\nport = {running.port}\nae_titles = ["PACS"]\n'
        site.write(node, hospital, more=more)
        images = tmp_path / "images"
        images.mkdir()
        for number in range(2):
            ct_image(images, f"{number}{EVIL}.dcm", pixels=512)
        sent = run_program("store", "pacs", images, "--config", site.config)
        on_terminal = type_in(["store", "pacs", images, "--config", site.config], [], columns=400)
    assert "evil \\x1b[5;7mred\\x07\\nhsm-dicom: forged" in sent.err
    assert sent.err.count("\n") == 2
    assert is_clean(sent), sent
    assert is_clean(on_terminal, terminal=True), on_terminal.out
    assert "\\x1b[5;7mred" in on_terminal.out


def test_an_ae_title_and_a_subject_are_escaped_in_the_log(
    hospital: Hospital, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_config.VALIDATORS, "AE", lambda title: (True, ""))  # the peer's own library would not send it
    stranger = hospital.peer("evil\x1b[5;7m\nforged")
    context = plain_context(hospital, ssl.PROTOCOL_TLS_CLIENT, stranger)
    with caplog.at_level(logging.INFO, "hsm_dicom"), nodes.node(hospital) as running:
        ae = AE("A\x1b[5;7mB")
        ae.add_requested_context(Verification)
        ae.associate("127.0.0.1", running.port, ae_title="NODE", tls_args=(context, "localhost"))
    messages = [record.getMessage() for record in caplog.records]
    assert any("may not use the AE title" in message for message in messages)
    assert all(message.isprintable() for message in messages)


def test_a_record_of_the_log_is_one_line_and_a_traceback_is_escaped() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        record = logging.LogRecord("tokens", logging.ERROR, "", 0, "%s", (EVIL,), (ValueError, error, None))
    written = PrintableFormatter("hsm-dicom: %(message)s").format(record)
    assert written.split("\n")[0] == f"hsm-dicom: {SHOWN}"
    assert written.replace("\n", "").isprintable()


def test_a_table_draws_nothing_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    rows = output.Table("name")
    rows.add_row("a\x1b[5;7mb\x07")
    rows.print()
    output.say(EVIL)
    output.facts([("name", EVIL)])
    output.say_verbatim(EVIL)
    output.complain("file", EVIL)
    printed = capsys.readouterr()
    assert (printed.out + printed.err).replace("\n", "").isprintable()
    assert "\nhsm-dicom: forged" not in printed.out + printed.err
