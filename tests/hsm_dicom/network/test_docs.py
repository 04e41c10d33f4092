"""The pages on TLS and ISCL do what they say: their commands and examples are run, in order, in one empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ports import free_port
from tests.test_docs import FIRST, blocks, run_page, run_python, run_shell


@pytest.mark.softhsm
def test_the_tutorial_on_tls_and_the_guides_that_go_on_from_it(tmp_path: Path) -> None:
    run_page(tmp_path, "tutorial/first-tls-association.md", port=free_port())
    run_page(tmp_path, "howto/old-machines.md", before=[FIRST])
    said = run_python(tmp_path, "howto/tls-in-python.md", FIRST)
    assert "established: True" in said
    assert "0 'CN=CT 1,OU=Radiology', TLSv1.3" in said


@pytest.mark.softhsm
def test_the_page_on_setting_up_iscl(tmp_path: Path) -> None:
    port = str(free_port())
    *rehearsal, _alike, _directional = blocks("howto/iscl.md", "sh")
    said = run_shell(tmp_path, [block.replace("12761", port) for block in rehearsal])
    assert not list(tmp_path.glob("*.officer-*"))
    said = " ".join(said.split())
    assert "archive answered in" in said
    assert "Beware: single DES and MD5 are broken" in said
    assert "a session key of this message, under encryption key 1" in said
    assert "nothing wrong." in said
