"""`hsm-dicom inventory`: what an officer reads on a terminal and in a browser. (What is found is tested in `node`.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from tests.cards.fixtures import pcscd
from tests.hsm_dicom.cli.conftest import Node, Run, type_in

__all__ = ["pcscd"]

pytestmark = pytest.mark.usefixtures("pcscd")  # the command looks into the readers


def test_nothing_that_ends_soon_is_exit_0(run: Run, signing_node: Node) -> None:
    result = run("inventory", "--config", signing_node.config, "--warn-days", "0")
    assert result.status == exits.OK
    assert "no problems, 0 soon" in result.said
    assert "token ct-room, RSA 2048, made on the device" in result.said


def test_what_ends_soon_is_exit_3_with_what_it_breaks(run: Run, signing_node: Node) -> None:
    result = run("inventory", "--config", signing_node.config, "--warn-days", "99999")
    assert result.status == exits.NEEDS_ATTENTION == 3
    assert result.out.startswith("soon identity node")
    assert "Then: No signature can be made with it." in result.said
    assert "hsm-dicom key csr" in result.said


def test_in_json(run: Run, signing_node: Node) -> None:
    document = run("inventory", "--config", signing_node.config, "--json").json
    assert document["schema"] == "hsm-dicom/inventory/1"
    kinds = [entry["kind"] for entry in document["entries"] if entry["state"] != "present-not-configured"]
    assert sorted(kinds) == ["identity", "key", "token"]
    [key] = [entry for entry in document["entries"] if entry["kind"] == "key"]
    assert (key["origin"], key["uses"], key["ends"]) == ("made on the device", ["identities.node"], None)


def test_the_page_has_every_row_and_escapes_names(run: Run, signing_node: Node, tmp_path: Path) -> None:
    signing_node.token.generate("<script>alert(1)</script>")
    page = tmp_path / "inventory.html"
    run("inventory", "--config", signing_node.config, "--html", page)
    text = page.read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "identities.node" in text
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_page_that_cannot_be_written_is_an_error(run: Run, signing_node: Node) -> None:
    result = run("inventory", "--config", signing_node.config, "--html", "/nowhere/page.html")
    assert result.status == exits.FAILED
    assert "the report cannot be written" in result.err


def test_at_80_columns_no_line_is_wider(signing_node: Node) -> None:
    result = type_in(("inventory", "--config", signing_node.config), ())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.out)
    assert "identity" in text
    assert max(map(len, text.splitlines())) <= 80
