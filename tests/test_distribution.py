"""What `make dist` builds: the right files, the same octets wherever it runs, and locks that fit pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hsm_dicom import transport
from hsm_dicom.errors import Error
from hsm_dicom.network import assembly
from tokens.smartcard.readers.pcsc import library

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "packaging" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(source: Path, out: Path, *, umask: int, zone: str) -> tuple[Path, Path]:
    """Build the wheel and the source distribution of a folder, as `tools/dist` does."""
    command = [sys.executable, "-P", "-m", "hatchling", "build", "--directory", str(out)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1764000000", "TZ": zone}
    subprocess.run(command, cwd=source, env=environment, umask=umask, check=True, capture_output=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution of this folder."""
    return build(ROOT, tmp_path_factory.mktemp("dist"), umask=0o022, zone="UTC")


@pytest.mark.slow
def test_another_folder_umask_and_time_zone_give_the_same_octets(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, source = built
    before = os.umask(0o077)
    try:
        with tarfile.open(source) as archive:
            archive.extractall(tmp_path, filter="tar")
    finally:
        os.umask(before)
    [folder] = tmp_path.iterdir()
    again = build(folder, tmp_path / "again", umask=0o077, zone="Pacific/Auckland")
    assert [path.name for path in again] == [wheel.name, source.name]
    assert [path.read_bytes() for path in again] == [wheel.read_bytes(), source.read_bytes()]


@pytest.mark.slow
def test_the_wheel_has_the_packages_with_their_data_and_nothing_else(built: tuple[Path, Path]) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("hsm_dicom", "tokens")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = f"hsm_dicom-{PROJECT['version']}"
    shared = f"{about}.data/data/share/hsm-dicom/softhsm-config"
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        mode = wheel.getinfo(f"{shared}/provision").external_attr >> 16
        metadata = wheel.read(f"{about}.dist-info/METADATA").decode()
        assert wheel.read(f"{about}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert b"hsm-dicom = hsm_dicom.cli:main" in wheel.read(f"{about}.dist-info/entry_points.txt")
    assert {name for name in names if not name.startswith(about)} == expected
    assert {"hsm_dicom/py.typed", "tokens/py.typed", "hsm_dicom/report/templates/page.html.j2"} < expected
    assert {Path(name).name for name in names if name.startswith(shared)} == {
        path.name for path in (ROOT / "softhsm-config").iterdir()
    }
    assert mode & 0o777 == 0o755
    assert "License-Expression: MIT\n" in metadata


@pytest.mark.slow
def test_the_source_distribution_has_what_make_test_needs(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {member.name.partition("/")[2] for member in archive}
        assert {(member.uid, member.gid, member.uname, member.gname) for member in archive} == {(0, 0, "", "")}
    assert {"Makefile", "LICENSE", "CHANGELOG.md", "tools/set-up", "packaging/locks/dev.txt", "docs/conf.py"} < names
    assert {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")} < names
    assert not [name for name in names if re.match(r"\.venv|\.git/|build/|dist/|docs/_build", name)]


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_the_same_twice(tmp_path: Path) -> None:
    node = tmp_path / "node"
    venv.create(node)
    [packages] = node.glob("lib/python*/site-packages")
    for name in ("cryptography", "pydicom", "asn1crypto"):
        about = Path(distribution(name).locate_file("")) / f"{name}-{version(name)}.dist-info"
        shutil.copytree(about, packages / about.name)
    command = [sys.executable, "-P", "-m", "cyclonedx_py", "environment", str(node), "--pyproject", "pyproject.toml"]
    options = ["--sv", "1.6", "--output-reproducible", "--output-format", "JSON", "--output-file"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1764000000"}
    written = [tmp_path / name for name in ("a.cdx.json", "b.cdx.json")]
    for path, validation in zip(written, ("--validate", "--no-validate"), strict=True):
        subprocess.run([*command, *options, str(path), validation], cwd=ROOT, env=environment, check=True)
    assert written[0].read_bytes() == written[1].read_bytes()
    command = [sys.executable, "-P", str(ROOT / "tools" / "list_licences.py"), str(written[0])]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["hsm-dicom", "asn1crypto", "cryptography", "pydicom"]
    assert lines[2].endswith("Apache-2.0 OR BSD-3-Clause")


def pins(name: str) -> dict[str, tuple[str, int]]:
    """The locked packages of a file that apply here: version and number of hashes for each name."""
    found = {}
    for entry in (LOCKS / f"{name}.txt").read_text().replace("\\\n", "").splitlines():
        if entry and not entry.startswith("#"):
            written, *hashes = re.split(r"\s+--hash=sha256:(?=[0-9a-f]{64})", entry)
            locked = Requirement(written)
            if locked.marker is None or locked.marker.evaluate():
                [version] = locked.specifier
                assert version.operator == "=="
                found[canonicalize_name(locked.name)] = version.version, len(hashes)
    return found


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("runtime", ()),
        ("extras", ("cards", "legacy-tls")),
        ("dev", ("cards", "legacy-tls", "test", "docs", "dev", "release")),
    ],
)
def test_a_lock_fits_the_ranges_of_the_project(name: str, extras: tuple[str, ...]) -> None:
    locked = pins(name)
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    requirements = [one for one in map(Requirement, wanted) if one.name != PROJECT["name"]]
    unfit = [
        str(one)
        for one in requirements
        if (one.marker is None or one.marker.evaluate())
        and not one.specifier.contains(locked.get(canonicalize_name(one.name), ("0", 0))[0])
    ]
    assert not unfit, "Run tools/lock --keep, and commit packaging/locks."
    assert all(hashes for _, hashes in locked.values())


@pytest.mark.parametrize("name", ["runtime", "extras"])
def test_a_node_gets_the_versions_that_were_tested(name: str) -> None:
    tested = pins("dev")
    assert {package: version for package, (version, _) in pins(name).items()}.items() <= {
        package: version for package, (version, _) in tested.items()
    }.items()


def test_a_lock_names_no_registry() -> None:
    assert {path.stem for path in LOCKS.iterdir()} == {"build", "dev", "extras", "runtime"}
    for path in LOCKS.iterdir():
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ ", path.read_text()), path.name


def test_who_needs_an_extra_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(transport, "legacy_tls", raising=False)  # another test may have imported it
    for module in ("smartcard.scard", "hsm_dicom.transport.legacy_tls"):
        monkeypatch.setitem(sys.modules, module, None)
    errors = []
    for use in (library, assembly._load_retired_transport):
        with pytest.raises(Error) as raised:
            use()
        errors.append(str(raised.value))
    for extra, error in zip(("cards", "legacy-tls"), errors, strict=True):
        [package] = PROJECT["optional-dependencies"][extra]
        assert f"{sys.prefix}/bin/pip install '{package}'" in error
    assert "gcc python3-dev libpcsclite-dev" in errors[0]
