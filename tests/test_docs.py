"""The guides do what they say: their commands and examples are run, in order, in one empty folder."""

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hsm_dicom.cli.program import app
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import generated  # noqa: E402

FOUND_BY_THE_PAGES = ("PATH", "SOFTHSM2_CONF", "PCSCLITE_CSOCK_NAME", "VIRTUAL_ENV")
"""What a page must say for itself, beside all that begins with HSM_DICOM."""


def blocks(page: str, language: str) -> list[str]:
    """The examples of a page in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """All pages that are written by hand."""
    others = {DOCS / "_build", DOCS / "reference" / "commands", DOCS / "reference" / "api"}
    return [page for page in DOCS.rglob("*.md") if others.isdisjoint(page.parents)]


FIRST = blocks("tutorial/first-signature.md", "sh")[0]
"""The block that is repeated in each terminal."""


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tutorial on signatures was run, from which most guides go on."""
    folder = tmp_path_factory.mktemp("rehearsal")
    run_page(folder, "tutorial/first-signature.md")
    return folder


def run_shell(folder: Path, commands: list[str]) -> str:
    """Run commands in a new terminal, as it were, that knows where the clone is and nothing else."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in FOUND_BY_THE_PAGES and not name.startswith("HSM_DICOM")
    }
    environment |= {"PATH": os.defpath, "CLONE": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", "set -eu\n" + "\n".join(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def run_page(
    folder: Path, page: str, *, before: Iterable[str] = (), port: int | None = None, ports: Iterable[int] = ()
) -> str:
    """Run the commands of a page in one terminal, and compare what they print with the output that it shows.

    The output of a block of commands is the block of text behind it, if there is one. There, "…" stands for anything
    within a line, and for any number of lines if it is one by itself. `port` replaces the port 12762 of the page, and
    `ports` those that follow it.
    """
    text = (DOCS / page).read_text().replace("12762", str(port or 12762))
    for number, other in enumerate(ports, 12763):
        text = text.replace(str(number), str(other))
    pairs = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL)
    assert pairs
    end = "=== end of a block ==="
    said = run_shell(folder, ["exec 2>&1", *before, *(f"{commands}\necho '{end}'" for commands, _ in pairs)])
    for (commands, shown), printed in zip(pairs, said.split(f"{end}\n"), strict=False):
        assert not shown or re.fullmatch(as_pattern(shown), printed), f"{commands}\n{printed}\nis not\n{shown}"
    return said


def as_pattern(shown: str) -> str:
    """Turn the output that a page shows into a regular expression."""
    lines = (r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in shown.splitlines())
    return "".join(lines)


def run_python(folder: Path, page: str, first: str) -> str:
    """Run a page's Python examples, in a new terminal in which a rehearsal's first block was repeated."""
    (folder / "examples.py").write_text("\n".join(blocks(page, "python")))
    return run_shell(folder, [first, "python examples.py"])


def test_the_page_on_installing_puts_the_command_on_the_path() -> None:
    assert "check-config" in run_shell(ROOT, blocks("howto/install.md", "sh"))


@pytest.mark.parametrize("page", ["tutorial/first-tls-association.md", "howto/iscl.md"])
def test_every_rehearsal_begins_with_the_same_block(page: str) -> None:
    assert blocks(page, "sh")[0] == FIRST


def test_the_first_block_repeated_keeps_the_pins(tmp_path: Path) -> None:
    both = [FIRST, "sha256sum rehearsal/*.pin", FIRST, "sha256sum rehearsal/*.pin"]
    lines = run_shell(tmp_path, both).splitlines()
    assert len(lines) == 4
    assert lines[:2] == lines[2:]


@pytest.mark.softhsm
def test_the_software_hsms_page_makes_a_place_to_rehearse(tmp_path: Path) -> None:
    [first] = blocks("../softhsm-config/README.md", "sh")
    said = run_shell(tmp_path, [first, "hsm-dicom token list --module $module"])
    assert "not initialised" in said


def test_the_table_of_json_names_every_command_that_takes_it() -> None:
    page = (DOCS / "reference/json.md").read_text()
    table = set(re.findall(r"^\| `([a-z -]+)` +\| `hsm-dicom/", page, re.MULTILINE))
    assert table == set(commands_with(get_command(app), "--json"))


def commands_with(command: Any, option: str, name: str = "") -> Iterator[str]:
    """The names of a command, or of those in a group, that take an option."""
    if any(option in parameter.opts for parameter in command.params):
        yield name
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands_with(inner, option, f"{name} {word}".strip())


def test_the_tutorial_on_signatures(rehearsal: Path) -> None:
    assert (rehearsal / "rehearsal" / "events.jsonl").read_text().count("\n") > 5


@pytest.mark.parametrize(
    "page",
    [
        *(
            "accept-an-hsm",
            "see-what-you-have",
            "keep-records",
            "reset-a-pin",
            "renew-a-certificate",
            "revoke-a-certificate",
            "add-an-intermediate",
        ),
        *("time-stamp", "two-hsms", "policies", "replace-a-key"),
    ],
)
def test_a_guide_that_goes_on_from_the_tutorial_on_signatures(rehearsal: Path, page: str) -> None:
    run_page(rehearsal, f"howto/{page}.md", before=[FIRST])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such a namespace, and gives files away")
def test_the_guide_on_containers(rehearsal: Path) -> None:
    run_page(rehearsal, "howto/container.md", before=[FIRST])
    assert list((rehearsal / "volumes" / "srv").glob("*/*.dcm"))
    assert not (rehearsal / "volumes" / "srv" / "again").exists()
    assert not list((rehearsal / "root").iterdir()), "the namespace's mounts end with it"


def test_the_archives_report_is_a_page_for_people(rehearsal: Path) -> None:
    run_page(rehearsal, "howto/verify-an-archive.md", before=[FIRST])
    assert (rehearsal / "report.html").read_text().startswith("<!DOCTYPE html>")
    first, *_, second = [json.loads(line) for line in (rehearsal / "verdicts.jsonl").read_text().splitlines()]
    assert (first["schema"], second["schema"]) == ("hsm-dicom/verify/2", "hsm-dicom/verify-summary/1")


def test_the_ceremony_leaves_two_tokens_with_keys_for_each_direction_and_iscl_uses_them(rehearsal: Path) -> None:
    run_page(rehearsal, "howto/iscl-keys.md", before=[FIRST])
    lists = [FIRST, "hsm-dicom secret list rehearsal --json", "hsm-dicom secret list pacs --json"]
    ours, theirs = (json.loads(line)["secret_keys"] for line in run_shell(rehearsal, lists).splitlines())
    assert [(s["label"], s["encrypts"], s["decrypts"]) for s in ours] == [
        ("secret-authentication-1", True, False),
        ("secret-authentication-2", False, True),
        ("secret-encryption-2", True, True),
    ]
    assert [(s["encrypts"], s["decrypts"]) for s in theirs] == [(False, True), (True, False), (True, True)]
    assert [s["check_value"] for s in ours] == [s["check_value"] for s in theirs]
    assert not list(rehearsal.glob("*.component"))
    *_, alike, directional = blocks("howto/iscl.md", "sh")
    said = run_shell(rehearsal, [FIRST, alike, directional.replace("12763", str(free_port()))])
    assert "archive answered in" in said


def test_the_page_on_signing_and_verifying(rehearsal: Path) -> None:
    said = run_page(rehearsal, "howto/sign-and-verify.md", before=[FIRST])
    assert "valid" in said
    assert list((rehearsal / "streams").glob("*.mac"))


def test_the_tutorial_on_python(rehearsal: Path) -> None:
    text = (DOCS / "tutorial" / "python.md").read_text()
    pairs = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL)
    end = "=== end of a block ==="
    (rehearsal / "examples.py").write_text("".join(f"{example}\nprint('{end}')\n" for example, _ in pairs))
    [copy] = blocks("tutorial/python.md", "sh")
    said = run_shell(
        rehearsal,
        [FIRST, copy, "rm -rf out.dcm signed-in-python", "python -W error -W ignore::ResourceWarning examples.py"],
    )
    for (example, shown), printed in zip(pairs, said.split(f"{end}\n"), strict=False):
        assert not shown or re.fullmatch(as_pattern(shown), printed), f"{example}\n{printed}\nis not\n{shown}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*command, str(DOCS), str(tmp_path / "site")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "site" / "howto" / "service.html").exists()


def test_every_link_between_pages_leads_somewhere() -> None:
    generated.write_pages(DOCS)
    for page in [*ROOT.glob("*.md"), *pages(), ROOT / "softhsm-config" / "README.md"]:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name}: {target}"
            assert not heading or heading in headings(there.resolve()), f"{page.name}: {target}#{heading}"


@functools.cache
def headings(page: Path) -> set[str]:
    """The places in a page that a link can name, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.*)$", generated.expand(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_contributors_are_told_to_run_exists() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = set(re.findall(r"`make ([a-z-]+)`", page))
    assert len(told) > 6
    assert told <= set(targets)
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE) == [marker.partition(":")[0] for marker in markers]


def test_every_test_that_a_page_names_exists() -> None:
    here = Path(__file__).parent
    written = set(
        re.findall(r"^def (test_\w+)\(", "\n".join(p.read_text() for p in here.rglob("test_*.py")), re.MULTILINE)
    )
    named = {(page.name, name) for page in pages() for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert len(named) > 20
    assert not [(page, name) for page, name in named if name not in written]
