"""Who works, and on which host: in every line of an event file."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsm_dicom import operators
from hsm_dicom.events import ConfigurationRead, as_json
from hsm_dicom.operators import OperatorNameError, current_operator, use_operator

READ = ConfigurationRead(path="node.toml", sha256="00", problems=0)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SUDO_USER", raising=False)
    use_operator(None)
    yield
    monkeypatch.undo()
    use_operator(None)


def line() -> dict[str, object]:
    content: dict[str, object] = json.loads(as_json(READ, datetime.now(UTC)))
    return content


def test_a_name_that_is_given_stands_beside_the_login() -> None:
    use_operator("J. Kim")
    given = line()
    assert (given["operator"], given["host"]) == ("J. Kim", os.uname().nodename)
    use_operator(None)
    assert line()["operator"] == line()["login"] == given["login"]


def test_the_login_is_the_kernels_and_sudo_only_gives_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    login = tmp_path / "loginuid"
    monkeypatch.setattr(operators, "_LOGIN_UID", login)
    monkeypatch.setenv("SUDO_USER", "anna")
    root, own = pwd.getpwuid(0).pw_name, pwd.getpwuid(os.getuid()).pw_name
    for kernel, expected in (("0", root), ("4294967294", "uid 4294967294"), ("4294967295", own), ("", own)):
        login.write_text(kernel)
        use_operator(None)
        assert (current_operator().name, current_operator().login) == ("anna", expected)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, "\u202egnikcah"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    with pytest.raises(OperatorNameError, match="--operator 'J. Kim'"):
        use_operator(name)
    assert current_operator().name == current_operator().login
