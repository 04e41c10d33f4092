"""The parts of the Debian package that a change elsewhere outdates: licences, the version, the manual pages."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEBIAN = ROOT / "packaging" / "debian"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("lock", ["extras", "build"])
def test_the_copyright_file_describes_every_bundled_package(lock: str) -> None:
    lines = (ROOT / "packaging" / "locks" / f"{lock}.txt").read_text()
    names = re.findall(r"^([\w.-]+)==(?!.*win32)", lines, re.MULTILINE)
    patterns = re.findall(r"wheels/\S+", (DEBIAN / "copyright").read_text())
    files = [f"wheels/{name.lower().replace('-', '_')}-1.whl" for name in names]
    assert len(files) > 5
    assert [file for file in files if not any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)] == []


def test_the_changelog_has_the_version_of_the_project() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"hsm-dicom ({PROJECT['version']}) ")


def test_the_package_and_its_licence_name_the_authors_of_the_project() -> None:
    [author] = PROJECT["authors"]
    [maintainer] = re.findall(r"^Maintainer: (.*)$", (DEBIAN / "control").read_text(), re.MULTILINE)
    signatures = re.findall(r"^ -- (.*)  ", (DEBIAN / "changelog").read_text(), re.MULTILINE)
    assert maintainer.startswith(f"{author['name']} <")
    assert set(signatures) == {maintainer}
    for file in (ROOT / "LICENSE", DEBIAN / "copyright"):
        assert f"2026 the {author['name']}\n" in file.read_text()


@pytest.mark.slow
def test_every_command_has_a_manual_page(tmp_path: Path) -> None:
    command = [sys.executable, str(DEBIAN / "write_manpages.py"), str(ROOT / "docs"), str(tmp_path), "2026-11-27"]
    subprocess.run(command, check=True)
    pages = {path.stem for path in tmp_path.iterdir()}
    listed = set(re.findall(r"^\.BR (\S+) \(1\)$", (tmp_path / "hsm-dicom.1").read_text(), re.MULTILINE))
    assert {name.replace("\\", "") for name in listed} | {"hsm-dicom"} == pages
    assert r"\-\-resume" in (tmp_path / "hsm-dicom-sign.1").read_text()
