"""Running the command line: in this process, and as a program on a terminal of its own."""

from __future__ import annotations

import json
import logging
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.cli import main
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import Authority, new_key
from tests.softhsm import TestToken, new_token

# -P: what lies in the working folder is not imported, as for an installed program.
PROGRAM = [sys.executable, "-P", "-c", "from hsm_dicom.cli import main; main()"]


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def said(self) -> str:
        """Everything, without line breaks, to look for sentences in."""
        return " ".join((self.out + " " + self.err).split())


Run = Callable[..., Result]


@contextmanager
def logging_as_before() -> Iterator[None]:
    """What a command sets for the log of its process ends with the test."""
    loggers = [logging.getLogger(name) for name in ("tokens", "hsm_dicom", "py.warnings")]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers = handlers
            logger.setLevel(level)
        logging.captureWarnings(False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], state_folder: Path) -> Iterator[Run]:
    """Run a command in this process; its refusals are remembered for this test only."""

    def command(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(int(ended.value.code or 0), out, err)

    with logging_as_before():
        yield command


def run_program(*arguments: object, **environment: str) -> Result:
    """Run a command as a process, without a terminal."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def type_in(arguments: Sequence[object], answers: Sequence[tuple[str, str]], columns: int = 80) -> Result:
    """Run a command on a terminal and give each answer when its question has been asked; both streams are one."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    # A session of its own: the PIN is asked for on this terminal and not on the one that runs the tests.
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment,
    )
    os.close(theirs)
    seen = ""
    try:
        for question, answer in answers:
            seen += _read_until(ours, question)
            os.write(ours, f"{answer}\n".encode())
        seen += _read_until(ours, None)
        return Result(process.wait(10), seen.replace("\r\n", "\n"), "")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, question: str | None) -> str:
    seen, deadline = b"", time.monotonic() + 30
    while question is None or question.encode() not in seen:
        if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"{question!r} was not asked: {seen.decode(errors='replace')}")
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            break
        seen += data
    text = seen.decode(errors="replace")
    assert question is None or question in text, text
    return text


@dataclass(frozen=True)
class Node:
    """A signing node: a token with a key and its certificate, a CA, and a configuration that names them."""

    folder: Path
    token: TestToken
    ca: Authority
    config: Path

    @property
    def trust(self) -> Path:
        """The CA's certificate."""
        return self.folder / "ca.pem"

    def write(self, name: str, data: bytes) -> Path:
        """A file in the node's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@pytest.fixture(scope="session")
def signing_token(softhsm: Path) -> tuple[TestToken, Authority]:
    """One token with a certified key, for all tests that only sign."""
    token = new_token("signing node")
    token.generate("node")
    ca = Authority("Hospital CA", key=new_key("rsa2048"))
    certify(token, "node", ca)
    return token, ca


@pytest.fixture
def signing_node(signing_token: tuple[TestToken, Authority], tmp_path: Path) -> Node:
    """The signing token with a configuration of its own: identity `node`, events in `events.jsonl`."""
    token, ca = signing_token
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(
        configuration_text(token, "ct-room")
        + '[identities.node]\ntoken = "ct-room"\nobject = "node"\n\n[events]\nfile = "events.jsonl"\n'
    )
    config.chmod(0o600)
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    return Node(tmp_path, token, ca, config)


def image(name: str = "CT_small.dcm") -> Path:
    """One of the images that pydicom ships."""
    return Path(str(get_testdata_file(name)))


@pytest.fixture
def sign(run: Run, signing_node: Node) -> Run:
    """Run `sign` with the identity of the signing node."""

    def command(*arguments: object) -> Result:
        return run("sign", *arguments, "--config", signing_node.config, "--identity", "node")

    return command


@pytest.fixture
def folder(signing_node: Node) -> Path:
    """A folder with three images, one of them in a folder below."""
    place = signing_node.folder / "in"
    (place / "deeper").mkdir(parents=True)
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(image(name), place / name)
    shutil.copy(image("JPEG2000.dcm"), place / "deeper" / "JPEG2000.dcm")
    return place
