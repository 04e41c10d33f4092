"""The reference that is generated from the code is complete: commands, names, keys of the configuration, events."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.test_docs import DOCS

sys.path.insert(0, str(DOCS / "_ext"))

import generated
from configuration import TABLES
from events import MODULES, event_classes, name_of
from mistakes import read_mistakes

from hsm_dicom.cli import exits
from hsm_dicom.config.sections import Configuration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated pages of commands and of the Python API."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "reference").mkdir()
    generated.write_pages(folder)
    return folder / "reference"


def test_each_command_has_its_usage_options_and_exit_statuses(folder: Path) -> None:
    assert "hsm-dicom sign [OPTIONS] FILE..." in (folder / "commands" / "sign.md").read_text()
    page = (folder / "commands" / "token.md").read_text()
    assert "## token check\n\n```text\nhsm-dicom token check [OPTIONS] TOKEN\n```" in page
    assert re.search(r"^\| `--so-pin` `SOURCE` \| .* \|$", page, re.M)
    assert re.search(r"^\| 77 \| ", page, re.M)
    assert "token forgive" not in page


def test_each_public_name_is_listed_with_its_signature(folder: Path) -> None:
    page = (folder / "api" / "tokens.md").read_text()
    assert re.search(r"^::::\{py:function\} open_key\(.*\) -> ", page, re.M)
    assert "{py:exception} Error" in page
    names = {page.stem for page in (folder / "api").glob("*.md")}
    assert {"tokens", "tokens.events", "hsm_dicom.signatures", "hsm_dicom.trust", "hsm_dicom.tls"} <= names


def test_two_builds_print_the_same(folder: Path) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import api; print(api.write_package('hsm_dicom'))"
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(DOCS / "_ext")]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True
        )
        assert done.stdout.strip() in (folder / "api" / "hsm_dicom.md").read_text()


def test_pages_of_what_is_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "reference" / "commands").mkdir(parents=True)
    old = tmp_path / "reference" / "commands" / "gone.md"
    old.write_text("# gone")
    generated.write_pages(tmp_path)
    assert not old.exists()


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    page = generated.expand("<!-- generated: configuration -->")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*(?:\\\|[^|]*)*) \| ([^|]*) \| (.*) \|$", page, re.M)
    assert len(rows) > 80
    assert [name for name, *_, meaning in rows if not meaning] == []
    titles = "".join(TABLES)
    assert [name for name in Configuration.model_fields if f"[{name}" not in titles] == []


def test_every_event_is_listed() -> None:
    root = DOCS.parent
    written = [
        (file.relative_to(root).with_suffix("").as_posix().replace("/", "."), name)
        for package in ("tokens", "hsm_dicom")
        for file in (root / package).rglob("*.py")
        for name in re.findall(r"^class (\w+)\((?:\w*Event)\):", file.read_text(), re.M)
    ]
    found = {kind.__name__ for kind in event_classes()}
    bases = {"DeviceEvent", "DicomEvent", "NetworkEvent", "RouteEvent", "ObjectEvent"}
    assert {name for _, name in written} - bases == found
    assert all(module.startswith(MODULES) for module, _ in written)
    page = generated.expand((DOCS / "reference" / "events.md").read_text())
    assert [kind for kind in event_classes() if f"## {name_of(kind)}\n" not in page] == []


def test_every_exit_status_has_a_meaning() -> None:
    page = generated.expand("<!-- generated: exit-statuses -->")
    statuses = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(number) for number in re.findall(r"^\| (\d+) \| `\w+` \| .+ \|$", page, re.M)} == statuses


def test_the_architecture_has_the_layers_of_the_contracts() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text()
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    drawn = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    layered = [contract["layers"] for contract in contracts if contract["type"] == "layers"][:2]
    for diagram, layers in zip(drawn, layered, strict=True):
        names = [re.split(r" *\| *", line) for line in re.findall(r"^(\w+(?: *\| *\w+)*)", diagram, re.MULTILINE)]
        expected = [[name.strip().rpartition(".")[2] for name in layer.split("|")] for layer in layers]
        if expected[-1] == ["tokens"]:
            expected.pop()
        assert names == expected


def test_the_page_of_mistakes_has_each_of_the_table() -> None:
    page = generated.expand((DOCS / "reference" / "mistakes.md").read_text())
    assert "| Two listeners on one address | `listeners.second.port` | error | The listener 'main' already uses" in page
    assert page.count("\n| ") == 1 + len(read_mistakes())
