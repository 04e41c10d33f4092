"""The tutorial on the gateway does what it says: its commands are run, in order, in one empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ports import free_port
from tests.test_docs import FIRST, blocks, run_page


@pytest.mark.softhsm
def test_the_tutorial_on_the_gateway(tmp_path: Path) -> None:
    assert blocks("tutorial/first-gateway.md", "sh")[0] == FIRST
    run_page(tmp_path, "tutorial/first-gateway.md", port=free_port(), ports=[free_port(), free_port()])
