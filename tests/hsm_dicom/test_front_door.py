"""The front door: `import hsm_dicom` is enough to sign and to verify, and it costs nothing until it is used."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

import hsm_dicom
import tokens
from hsm_dicom.config import ConfigurationError
from hsm_dicom.config.devices import NotConfiguredError
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import Authority
from tests.softhsm import TestToken

FIVE_LINES = """
import hsm_dicom

with hsm_dicom.load_identity("node") as node:
    hsm_dicom.sign("in.dcm", "out.dcm", node, profile="creator")
verdict = hsm_dicom.verify("out.dcm", trust="ca.pem")
print(verdict.valid, verdict.signatures[0].text)
"""

HEAVY = {
    "pydicom",
    "cryptography",
    "pydantic",
    "pynetdicom",
    "asn1crypto",
    "pkcs11",
    "rich",
    "numpy",
    "jinja2",
    "aiohttp",
}
"""What costs time to import."""

_STATE = {"tokens.process", "tokens.process.forking", "tokens.process.state_folder"}
SMALL = {"tokens", "tokens.deadlines", "tokens.errors", "hsm_dicom.errors"} | _STATE
"""What every import of the product loads: its errors, and where its state is."""


def loaded_by(code: str) -> set[str]:
    """The modules that a new process has after this code."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(json.loads(found.stdout.splitlines()[-1]))


def foreign(modules: set[str]) -> set[str]:
    """The modules that are not Python's own, nor of the site's start-up."""
    return {name for name in modules - loaded_by("") if name.partition(".")[0] not in sys.stdlib_module_names}


@pytest.fixture
def place(token: TestToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, an object to sign, and the certificate of the CA."""
    ca = Authority()
    token.generate("node")
    certify(token, "node", ca)
    identity = '[identities.node]\ntoken = "test"\nobject = "node"\n\n[events]\nfile = "events.jsonl"\n'
    (tmp_path / "hsm-dicom.toml").write_text(configuration_text(token) + identity)
    (tmp_path / "in.dcm").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_five_lines_sign_and_verify_and_write_events(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(FIVE_LINES, {})
    valid, _, text = capsys.readouterr().out.partition(" ")
    assert valid == "True"
    assert text.startswith("valid")
    events = [json.loads(line)["event"] for line in (place / "events.jsonl").read_text().splitlines()]
    assert events[0] == "configuration-read"
    assert events.count("signature-made") == 1
    assert "signature-validated" not in events  # the identity, and with it the event file, was closed by then


def test_the_configuration_is_found_as_the_command_line_finds_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = place / "hsm-dicom.toml"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    if not Path("/etc/hsm-dicom/hsm-dicom.toml").exists():
        with pytest.raises(NotConfiguredError, match="HSM_DICOM_CONFIG"):
            hsm_dicom.load_identity("node")
    with hsm_dicom.load_identity("node", file) as by_path:
        assert by_path.name == "node"
    monkeypatch.setenv("HSM_DICOM_CONFIG", str(file))
    with hsm_dicom.load_identity("node") as by_environment:
        assert by_environment.certificate == by_path.certificate
    with pytest.raises(NotConfiguredError, match="there: node"):
        hsm_dicom.load_identity("nobody")
    with pytest.raises(ConfigurationError):
        hsm_dicom.load_identity("node", place / "absent.toml")


def test_an_import_loads_the_front_door_and_nothing_else() -> None:
    own = {"hsm_dicom", "hsm_dicom.product", "hsm_dicom.remedies"}
    loaded = foreign(loaded_by("import hsm_dicom"))
    assert own <= loaded
    assert loaded - own <= SMALL


def test_help_loads_the_command_line_and_nothing_behind_it() -> None:
    help_code = "from hsm_dicom.cli import main\nwith contextlib.suppress(SystemExit): main(['--help'])"
    loaded = foreign(loaded_by(f"import contextlib\n{help_code}"))
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    ours = {name for name in loaded if name.startswith(("hsm_dicom.", "tokens."))}
    behind = {name for name in ours if not name.startswith("hsm_dicom.cli")}
    assert behind <= SMALL | {"hsm_dicom.operators", "hsm_dicom.product", "hsm_dicom.remedies"}


def test_every_name_of_the_front_door_is_there() -> None:
    assert set(hsm_dicom.__all__) <= set(dir(hsm_dicom))
    for name in hsm_dicom.__all__:
        assert getattr(hsm_dicom, name) is not None
    assert hsm_dicom.Error is tokens.errors.Error
    assert hsm_dicom.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'sing'"):
        hsm_dicom.sing  # noqa: B018


def test_no_export_bears_the_name_of_a_submodule() -> None:
    """Else what `package.name` is would depend on what was imported before."""
    clashes = []
    for top in (hsm_dicom, tokens):
        packages = [top.__name__]
        packages += [m.name for m in pkgutil.walk_packages(top.__path__, f"{top.__name__}.") if m.ispkg]
        for package in packages:
            module = importlib.import_module(package)
            submodules = {found.name for found in pkgutil.iter_modules(module.__path__)}
            clashes += [f"{package}.{name}" for name in submodules & set(getattr(module, "__all__", ()))]
    assert clashes == []


def test_the_old_name_of_the_mathematics_names_its_heirs() -> None:
    with pytest.raises(ImportError, match=r"hsm_dicom\.verify.*hsm_dicom\.signatures\.check_integrity"):
        from hsm_dicom.signatures import verify  # noqa: F401
    with pytest.raises(AttributeError):
        importlib.import_module("hsm_dicom.signatures").absent  # noqa: B018
