"""No listener starts on a configuration that check-config refuses: both read one plan, and open it in one place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import hsm_dicom
from hsm_dicom.config import ConfigurationError
from hsm_dicom.errors import Error
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import open_listener
from tests.hsm_dicom.network.iscl_site import ISCLSite
from tests.hsm_dicom.node.conftest import Write
from tests.hsm_dicom.node.test_plan import MISTAKES
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.pki import Authority
from tests.softhsm import MODULE, TestToken
from tests.tokens.secrets.devices import KEYS
from tokens import open_token
from tokens.events import DeviceEvent, Login, subscribe
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret
from tokens.secrets import Use

SOUND = '\n[listeners.sound]\nae_title = "SOUND"\nidentities = ["node"]\npeers = []\nport = 2799\n'


@contextmanager
def no_login() -> Iterator[None]:
    logins: list[DeviceEvent] = []
    with subscribe(lambda event: logins.append(event) if isinstance(event, Login) else None):
        yield
    assert logins == []


def _sentence(error: Error) -> str:
    return str(error).partition(" (And ")[0]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_any_table_keeps_every_listener_from_starting(write: Write, mistake: str) -> None:
    text, _ = MISTAKES[mistake]
    file = write(text + SOUND)
    report = check_configuration(file, log_in=False)
    assert not report.is_usable
    for name in ("sound", *re.findall(r"^\[listeners\.(\w+)\]", text, re.M)):
        with no_login(), pytest.raises(ConfigurationError) as caught:
            open_listener(read_plan(file), name)
        assert _sentence(caught.value) in [str(problem) for problem in report.problems]


FILES = {
    "a folder for events that is not there": '[events]\nfile = "none/events.jsonl"\n',
    "a module that is not there": '[tokens.other]\nmodule = "/nowhere/module.so"\nlabel = "x"\npin = "env:PATH"\n',
    "a module that others may write": '[tokens.other]\nmodule = "module.so"\nlabel = "x"\npin = "env:PATH"\n',
    "a key on a token that is not there": '[identities.other]\nkey = "pkcs11:token=a?pin-source=fd:x"\n',
}


@pytest.mark.parametrize("mistake", FILES)
def test_a_file_that_cannot_be_used_keeps_every_listener_from_starting(
    write: Write, tmp_path: Path, mistake: str
) -> None:
    shutil.copy(MODULE, tmp_path / "module.so")
    (tmp_path / "module.so").chmod(0o666)
    file = write(FILES[mistake] + SOUND)
    report = check_configuration(file, log_in=False)
    with no_login(), pytest.raises(ConfigurationError) as caught:
        open_listener(read_plan(file), "sound")
    assert _sentence(caught.value) in [str(problem) for problem in report.problems]


def test_a_file_that_others_may_write_keeps_every_listener_from_starting(write: Write) -> None:
    file = write(SOUND)
    file.chmod(0o666)
    with no_login(), pytest.raises(ConfigurationError, match="may be written by others"):
        open_listener(read_plan(file), "sound")


def _missing_key(text: str, folder: Path, node: TestToken) -> str:
    return text.replace('object = "rsa"', 'object = "no such key"')


def _other_certificate(text: str, folder: Path, node: TestToken) -> str:
    (folder / "node.pem").write_bytes(Authority().issue("Somebody else").pem)
    return text


def _strange_chain(text: str, folder: Path, node: TestToken) -> str:
    (folder / "chain.pem").write_bytes(Authority("Another CA").pem)
    return text.replace('certificate = "node.pem"', 'certificate = "node.pem"\nchain = "chain.pem"')


def _bad_crl(text: str, folder: Path, node: TestToken) -> str:
    (folder / "ca.crl").write_bytes(b"no CRL")
    return text.replace("[trust]", '[trust]\ncrls = ["ca.crl"]')


def _bad_crl_without_callers_certificates(text: str, folder: Path, node: TestToken) -> str:
    text = _bad_crl(text, folder, node).replace('anchors = ["ca.pem"]', "")
    return f'{text}authentication = "one-way"\n'


@pytest.mark.parametrize(
    "spoil",
    [
        _missing_key,
        _other_certificate,
        _strange_chain,
        _bad_crl,
        _bad_crl_without_callers_certificates,
    ],
)
def test_what_the_devices_and_certificates_of_a_listener_hold_is_refused_alike(
    write: Write, tmp_path: Path, node: TestToken, hospital: Hospital, spoil: object
) -> None:
    file = write(SOUND)
    assert check_configuration(file).is_usable
    open_listener(read_plan(file), "sound").close()
    assert callable(spoil)
    file.write_text(spoil(file.read_text(), tmp_path, node))
    with pytest.raises(Error):
        open_listener(read_plan(file), "sound")
    assert not check_configuration(file).is_usable
    (tmp_path / "node.pem").write_bytes(hospital.rsa.certificate.public_bytes(Encoding.PEM))


def test_a_secret_key_for_the_other_direction_is_refused_alike(iscl_site: ISCLSite) -> None:
    with open_token(iscl_site.secrets.uri()) as connection:
        for index, answers in ((1, True), (2, False)):
            key = bytearray.fromhex(KEYS[Use.AUTHENTICATION, index])
            import_secret(
                connection, Use.AUTHENTICATION, index, key, prefix="one", answers=answers, verifies=not answers
            )
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex(KEYS[Use.ENCRYPTION, 1]), prefix="one")
    keys = 'prefix = "one"\nwire = { directional_keys = true }\n'
    try:
        # The keys were imported for a client: a server answers with the second, and verifies with the first.
        right = f"{keys}authentication_key = 2\nserver_authentication_key = 1"
        wrong = f"{keys}authentication_key = 1\nserver_authentication_key = 2"
        open_listener(read_plan(iscl_site.write(listener=right)), "archive").close()
        file = iscl_site.write(listener=wrong)
        with pytest.raises(Error, match="was imported for the other direction"):
            open_listener(read_plan(file), "archive")
        assert "was imported for the other direction" in str(check_configuration(file).problems)
    finally:
        with open_token(iscl_site.secrets.uri()) as connection:
            for use, index in ((Use.AUTHENTICATION, 1), (Use.AUTHENTICATION, 2), (Use.ENCRYPTION, 1)):
                delete_secret(connection, use, index, prefix="one")


def test_only_the_compiler_reads_the_tables_of_the_network() -> None:
    """A rule that somebody reads from the configuration beside the plan is one that check-config does not know."""
    root = Path(hsm_dicom.__file__).parent
    tables = re.compile(
        r"\bconfiguration\.(?:peers|listeners|iscl|trust)\b|config\.(?:network_sections|iscl_section)\b"
    )
    readers = {str(file.relative_to(root)) for file in root.rglob("*.py") if tables.search(file.read_text())} - {
        str(file.relative_to(root)) for file in (root / "config").iterdir()
    }
    assert readers == {
        f"node/{name}.py" for name in ("compiler", "trust", "tables/iscl", "tables/listeners", "tables/peers")
    }
