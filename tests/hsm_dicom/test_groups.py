"""An identity with one key on two tokens: opening, signing, handshakes, and the commands that use it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from pydicom.data import get_testdata_file

import hsm_dicom
import tokens
from hsm_dicom.config import Configuration, ConfigurationError, find_token_access, load_configuration
from hsm_dicom.config.opening import open_configuration
from hsm_dicom.identity import load_identity
from hsm_dicom.identity.errors import NoTokenCertificateError
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.check_report import ConfigurationReport
from hsm_dicom.node.opening import Resources
from hsm_dicom.node.readiness import Readiness
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import Authority
from tests.softhsm import MODULE, new_token
from tests.tokens.group.conftest import Copies, new_copies
from tokens.errors import KeyMismatchError, NoSuchKeyError, PinNotPresentedError, PinSourceError
from tokens.events import FailedOver, KeyUse, subscribe
from tokens.group import KeyGroup
from tokens.keys import TokenRSAPrivateKey
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin
from tokens.pkcs11.ceremony import delete_key


@dataclass
class Place:
    """A folder with a configuration of two tokens that hold copies of `node`, certified on the first of them."""

    folder: Path
    copies: Copies
    ca: Authority
    certificate: x509.Certificate

    def write(self, identities: str, copies: Copies | None = None) -> Path:
        file = self.folder / "hsm-dicom.toml"
        tokens = zip(("hsm-a", "hsm-b"), (copies or self.copies).tokens, strict=True)
        file.write_text("".join(configuration_text(token, name) for name, token in tokens) + identities)
        file.chmod(0o600)
        return file

    def load(self, identities: str, copies: Copies | None = None) -> Configuration:
        return load_configuration(self.write(identities, copies))


BOTH = 'tokens = ["hsm-a", "hsm-b"]\n'
NODE = '[identities.node]\ntokens = ["hsm-a", "hsm-b"]\nobject = "node"\n'


@pytest.fixture(scope="module")
def certified(softhsm: object) -> tuple[Copies, Authority, x509.Certificate]:
    copies, ca = new_copies(None, None), Authority()
    return copies, ca, certify(copies.tokens[0], "node", ca)


@pytest.fixture
def place(certified: tuple[Copies, Authority, x509.Certificate], tmp_path: Path, state_folder: Path) -> Place:
    return Place(tmp_path, *certified)


def test_an_identity_on_two_tokens_signs_and_has_the_certificate_of_the_one_that_stores_it(place: Place) -> None:
    with load_identity("node", place.load(NODE)) as identity:
        assert identity.certificate == place.certificate
        assert isinstance(identity.key, TokenRSAPrivateKey)
        assert isinstance(identity.key.device, KeyGroup)
        assert [member.name for member in identity.key.device.members] == ["hsm-a", "hsm-b"]
        assert identity.key.device.is_working
        used: list[KeyUse] = []
        with subscribe(used.append, KeyUse):
            signed = hsm_dicom.sign(image(), None, identity, profile="creator")
        assert {event.token_serial for event in used} == {place.copies.tokens[0].serial}
        assert {event.certificate_serial for event in used} == {f"{place.certificate.serial_number:x}"}
    (place.folder / "ca.pem").write_bytes(place.ca.pem)
    verdict = hsm_dicom.verify(signed, trust=place.folder / "ca.pem")
    assert verdict.valid


def image() -> bytes:
    return Path(get_testdata_file("CT_small.dcm")).read_bytes()


def test_a_certificate_in_a_file_decides_which_key_is_wanted(place: Place) -> None:
    other = new_token()
    other.import_key("node", rsa.generate_private_key(65537, 2048))
    wrong_first = Copies((other, place.copies.tokens[1]), place.copies.key, ())
    (place.folder / "node.pem").write_bytes(place.certificate.public_bytes(Encoding.PEM))
    heard: list[FailedOver] = []
    with (
        subscribe(heard.append, FailedOver),
        load_identity("node", place.load(f'{NODE}certificate = "node.pem"\n', wrong_first)) as identity,
    ):
        assert identity.certificate == place.certificate
        assert [member.state for member in identity.key.device.members] == ["excluded", "closed"]
    assert "is not the key that the certificate is for" in heard[0].reason
    both_wrong = Copies((other, new_copies(None).tokens[0]), place.copies.key, ())
    with pytest.raises(KeyMismatchError, match="None of the tokens of node works"):
        load_identity("node", place.load(f'{NODE}certificate = "node.pem"\n', both_wrong))


def test_a_group_without_a_certificate_says_so(place: Place) -> None:
    with pytest.raises(NoTokenCertificateError, match="no certificate with node on hsm-a and hsm-b"):
        load_identity("node", place.load(NODE, new_copies(None, None)))


def test_the_order_and_the_mode_are_those_of_the_file(place: Place) -> None:
    text = NODE.replace('"hsm-a", "hsm-b"', '"hsm-b", "hsm-a"') + 'mode = "balance"\nprobe_seconds = 1\n'
    with load_identity("node", place.load(text)) as identity:
        pool = identity.key.device._pool
        assert [member.name for member in pool.members] == ["hsm-b", "hsm-a"]
        assert pool.mode == "balance"
        assert pool.members[0].breaker._probe_seconds == 1.0


@pytest.mark.parametrize(
    ("lines", "key", "sentence"),
    [
        ('tokens = ["hsm-a"]\nobject = "node"', "", "tokens lists only one token. Write token ="),
        ('tokens = []\nobject = "node"', "tokens", "The list is empty."),
        ('tokens = "hsm-a"\nobject = "node"', "tokens", "The value must be a list."),
        ('tokens = ["hsm-a", "hsm-a"]\nobject = "node"', "", "tokens lists a token twice."),
        ('tokens = ["hsm-a", "hsm-b"]', "", "The identity names no key."),
        ('token = "hsm-a"\ntokens = ["hsm-a", "hsm-b"]\nobject = "node"', "", "both token and tokens."),
        ('tokens = ["hsm-a", "hsm-b"]\nkey = "pkcs11:token=x;object=y"', "", "The identity names its key twice."),
        ('token = "hsm-a"\nobject = "node"\nmode = "balance"', "", "mode is for a key on several tokens."),
        ('token = "hsm-a"\nobject = "node"\nprobe_seconds = 2', "", "probe_seconds is for a key on several tokens."),
        (
            'tokens = ["hsm-a", "hsm-b"]\nobject = "node"\nmode = "both"',
            "mode",
            "Write one of: 'failover' or 'balance'",
        ),
        (
            'tokens = ["hsm-a", "hsm-b"]\nobject = "node"\nprobe_seconds = 0',
            "probe_seconds",
            "The number is too small.",
        ),
    ],
)
def test_each_mistake_has_its_sentence(place: Place, lines: str, key: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        place.load(f"[identities.node]\n{lines}\n")
    (problem,) = failed.value.problems
    assert problem.key == f"identities.node{key and '.'}{key}"
    assert sentence in f"{problem.text} {problem.remedy}"


def test_a_token_without_a_table_is_named(place: Place) -> None:
    text = NODE.replace("hsm-b", "hsm-c")
    with pytest.raises(ConfigurationError, match=r"There is no \[tokens.hsm-c\] in this file"):
        place.load(text)
    report = check_configuration(place.write(text), log_in=False)
    (problem,) = report.problems
    assert (problem.key, problem.line) == ("identities.node.tokens", 12)


def check(place: Place, text: str, copies: Copies | None = None) -> ConfigurationReport:
    return check_configuration(place.write(text, copies))


def test_check_config_opens_each_token_of_a_sound_group(place: Place) -> None:
    report = check(place, NODE)
    assert report.is_usable
    assert report.tokens == ("hsm-a", "hsm-b")
    assert [one.name for one in report.identities] == ["node"]
    imported = "About its key: it was imported, so a copy may exist elsewhere."
    assert imported in [problem.text for problem in report.problems]


def test_check_config_reports_the_token_with_another_key(place: Place) -> None:
    other = new_token()
    other.import_key("node", rsa.generate_private_key(65537, 2048))
    report = check(place, NODE, Copies((place.copies.tokens[0], other), place.copies.key, ()))
    (error,) = [problem for problem in report.problems if problem.severity == "error"]
    assert error.key == "identities.node.tokens"
    assert error.text.startswith("Token 'hsm-b' is not used: Key 'node'")
    assert "is another key than that on hsm-a: their public keys differ" in error.text
    assert error.remedy == "Put a copy of the key on it, or take 'hsm-b' out of tokens of [identities.node]."


def test_check_config_reports_a_token_under_two_names(place: Place) -> None:
    first = place.copies.tokens[0]
    report = check(place, NODE, Copies((first, first), place.copies.key, ()))
    (error,) = [problem for problem in report.problems if problem.severity == "error"]
    assert f"Token '{first.label}' (serial {first.serial}) is in node already, as hsm-a." in error.text
    assert error.remedy == "Name each token once."


def test_check_config_names_the_token_that_refuses_its_pin_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "0000")
    copies = new_copies(None, None)
    certify(copies.tokens[0], "node", place.ca)
    file = place.write(NODE, copies)
    file.write_text(file.read_text().replace(copies.tokens[1].pin, "env:WRONG"))
    report = check_configuration(file)
    errors = [problem.key for problem in report.problems if problem.severity == "error"]
    assert errors == ["tokens.hsm-b.pin"]
    assert report.tokens == ("hsm-a",)
    assert [one.name for one in report.identities] == ["node"]


@pytest.mark.parametrize("named", [True, False], ids=["--config", "found"])
def test_remedies_name_a_token_as_the_configuration_does(
    place: Place, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    copies = new_copies(None, None)
    memory = RefusalMemory(place.folder / "state")
    for token in copies.tokens:
        with memory.present(token.serial, "user", Pin(b"0000"), retries=3) as presentation:
            presentation.begin()
    file = place.write(f'[state]\nfolder = "{place.folder}/state"\n{NODE}', copies)
    monkeypatch.setenv("HSM_DICOM_CONFIG", "other.toml" if named else str(file))
    monkeypatch.setenv(copies.tokens[0].pin.removeprefix("env:"), "0000")
    with (
        open_configuration(file) as configuration,
        pytest.raises(PinNotPresentedError) as failed,
        find_token_access(configuration, "hsm-a").open() as connection,
    ):
        connection.connect()
    option = f" --config {file}" if named else ""
    assert f"present it by hand: hsm-dicom token login hsm-a{option} --pin prompt" in str(failed.value)


@pytest.mark.parametrize(
    ("module", "product"),
    [
        ("libCryptoki2_64.so", "Thales Luna"),
        ("libcknfast.so", "Entrust nShield"),
        ("libcloudhsm_pkcs11.so", "AWS CloudHSM"),
    ],
)
def test_check_config_says_to_use_what_the_maker_of_the_module_offers(place: Place, module: str, product: str) -> None:
    link = place.folder / module
    link.symlink_to(MODULE)
    file = place.write(NODE)
    file.write_text(file.read_text().replace(str(MODULE), str(link)))
    report = check_configuration(file, log_in=False)
    (warning,) = report.problems
    assert warning.key == "identities.node.tokens"
    assert product in warning.text
    assert warning.remedy.startswith("Use that function, and write token = instead of tokens =. ")


def test_a_listener_is_ready_while_one_token_works(place: Place) -> None:
    copies = new_copies(None, None)
    (place.folder / "node.pem").write_bytes(place.ca.issue("node", key=copies.key).pem)
    with load_identity("node", place.load(f'{NODE}certificate = "node.pem"\nprobe_seconds = 3600\n', copies)) as node:
        readiness = Readiness("main", "host:1", lambda: Resources([node]).devices)
        assert readiness.problem == ""
        for number, problem in ((0, ""), (1, "None of the tokens of node works.")):
            with tokens.open_token(copies.tokens[number].uri()) as connection:
                delete_key(connection, copies.uris[number])
            with contextlib.suppress(NoSuchKeyError):
                node.key.sign(b"data", PKCS1v15(), SHA256())
            assert readiness.problem == problem
        copies.tokens[1].import_key("node", copies.key)
        node.key.sign(b"data", PKCS1v15(), SHA256())
        assert readiness.problem == ""


def test_a_file_descriptor_gives_its_pin_to_one_token_only(place: Place) -> None:
    with pytest.raises(PinSourceError, match="can be read from 'fd:9' once, and the key is on 2 tokens"):
        load_identity("node", place.load(NODE), pin="fd:9")
    file = place.write(NODE)
    for token in place.copies.tokens:
        file.write_text(file.read_text().replace(token.pin, "fd:9"))
    report = check_configuration(file, log_in=False)
    assert "identities.node.tokens" in [problem.key for problem in report.problems]
