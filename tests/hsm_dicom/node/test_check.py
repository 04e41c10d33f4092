"""Checking a configuration against the real files, tokens and certificates that it names: all problems at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.config import Severity
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.check_report import ConfigurationReport
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import NOW, Authority
from tests.softhsm import MODULE, TestToken, set_pin
from tokens.events import DeviceEvent, Login, subscribe


@pytest.fixture
def checked(tmp_path: Path, state_folder: Path):
    def check(text: str, **options: object) -> ConfigurationReport:
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(text)
        file.chmod(0o600)
        return check_configuration(file, **options)

    return check


@pytest.fixture
def certified(token: TestToken) -> TestToken:
    token.generate("node")
    certify(token, "node", Authority())
    return token


IDENTITY = '[identities.node]\ntoken = "test"\nobject = "node"\n'


def errors(report: ConfigurationReport) -> dict[str, str]:
    return {p.key: f"{p.text} {p.remedy}" for p in report.problems if p.severity is Severity.ERROR}


def test_a_sound_configuration_has_no_problem(checked, certified: TestToken) -> None:
    report = checked(configuration_text(certified) + IDENTITY)
    assert report.problems == ()
    assert report.is_usable
    assert report.tokens == ("test",)
    assert [(identity.name, identity.subject) for identity in report.identities] == [("node", "CN=Signer node")]


def test_a_typo_in_a_token_is_the_only_problem_and_its_identity_is_not_blamed(checked, certified: TestToken) -> None:
    report = checked(configuration_text(certified).replace("serial =", "seral =") + IDENTITY)
    assert list(errors(report)) == ["tokens.test.seral"]


def test_the_pin_is_presented_once_for_each_token(checked, certified: TestToken) -> None:
    logins: list[DeviceEvent] = []
    with subscribe(lambda event: logins.append(event) if isinstance(event, Login) else None):
        checked(configuration_text(certified) + IDENTITY + IDENTITY.replace(".node]", ".again]"))
    assert len(logins) == 1


def test_all_problems_are_reported_at_once(checked, certified: TestToken, tmp_path: Path) -> None:
    certified.generate("expired")
    certify(certified, "expired", Authority(), ends=NOW - timedelta(days=1))
    (tmp_path / "other.pem").write_bytes(Authority().issue("Somebody else").pem)
    (tmp_path / "pin").write_text("9999")
    (tmp_path / "pin").chmod(0o644)
    report = checked(
        configuration_text(certified)
        + f"""
[tokens.absent]
module = "{MODULE}"
label = "not there"
pin = "env:PATH"

[tokens.unreadable]
module = "{MODULE}"
serial = "{certified.serial}"
pin = "file:pin"

[tokens.nowhere]
module = "/nowhere/module.so"
label = "x"
pin = "env:NOT_SET_AT_ALL"

[tokens.no-module]
module = "pin"
label = "x"
pin = "env:PATH"

[identities.other]
token = "test"
object = "node"
certificate = "other.pem"

[identities.expired]
token = "test"
object = "expired"

[identities.missing]
token = "test"
object = "missing"

[events]
file = "{tmp_path}/none/events.jsonl"
"""
    )
    found = errors(report)
    assert not report.is_usable
    assert "No token in" in found["tokens.absent.label"]
    assert "may be read by others" in found["tokens.unreadable.pin"]
    assert "not set" in found["tokens.nowhere.pin"]
    assert "No such file" in found["tokens.nowhere.module"]
    assert "not a PKCS#11 module" in found["tokens.no-module.module"]
    assert "public keys differ" in found["identities.other.certificate"]
    assert "expired on" in found["identities.expired.certificate"]
    assert "No private key" in found["identities.missing.object"]
    assert "does not exist" in found["events.file"]
    assert all(problem.line for problem in report.problems)


def test_a_certificate_that_ends_soon_is_a_warning(checked, token: TestToken) -> None:
    token.generate("node")
    certify(token, "node", Authority(), ends=NOW + timedelta(days=12))
    report = checked(configuration_text(token) + IDENTITY)
    assert report.is_usable
    [problem] = report.problems
    assert (problem.severity, problem.key) == (Severity.WARNING, "identities.node.certificate")
    assert "expires in" in problem.text
    assert checked(configuration_text(token) + IDENTITY, warning=timedelta(days=5)).problems == ()


def test_a_chain_that_leads_elsewhere_is_an_error(checked, certified: TestToken, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(Authority("Another CA").pem)
    report = checked(configuration_text(certified) + IDENTITY + 'chain = "chain.pem"\n')
    found = errors(report)["identities.node"]
    assert (
        "chain.pem has certificates that do not certify 'CN=Signer node', even with the others: 'CN=Another CA'."
        in found
    )


def test_a_wrong_pin_is_presented_once_and_its_identities_are_not_looked_at(checked, certified: TestToken) -> None:
    text = configuration_text(certified).replace(certified.pin, set_pin("0000wrong"))
    first = checked(text + IDENTITY)
    assert "was refused by" in errors(first)["tokens.test.pin"]
    assert first.not_checked == ("node",)
    again = checked(text + IDENTITY)
    assert "PinRefusedError" not in str(again)
    assert "presented" in errors(again)["tokens.test.pin"]
    assert "was refused by" not in errors(again)["tokens.test.pin"]


def test_without_login_no_pin_is_presented(checked, certified: TestToken) -> None:
    logins: list[DeviceEvent] = []
    with subscribe(logins.append):
        report = checked(configuration_text(certified) + IDENTITY, log_in=False)
    assert logins == []
    assert (report.is_usable, report.identities, report.not_checked) == (True, (), ("node",))


def test_a_module_that_others_may_write_is_not_even_loaded(checked, certified: TestToken, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    shutil.copy(MODULE, module)
    module.chmod(0o666)
    report = checked(configuration_text(certified).replace(str(MODULE), str(module)))
    assert "may be written by others" in errors(report)["tokens.test.module"]
    assert str(module) not in Path("/proc/self/maps").read_text()


def test_nothing_that_an_unsafe_configuration_names_is_loaded(certified: TestToken, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    shutil.copy(MODULE, module)
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(configuration_text(certified).replace(str(MODULE), str(module)) + IDENTITY)
    file.chmod(0o666)
    report = check_configuration(file)
    assert list(errors(report)) == [""]
    assert report.not_checked == ("node",)
    assert str(module) not in Path("/proc/self/maps").read_text()


def test_a_token_without_pin_source_is_a_warning(checked, certified: TestToken) -> None:
    text = "\n".join(line for line in configuration_text(certified).splitlines() if not line.startswith("pin"))
    report = checked(f"{text}\n{IDENTITY}")
    assert report.is_usable
    assert report.problems[0].key == "tokens.test.pin"


def test_an_identity_by_uri_is_looked_at_like_the_others(checked, certified: TestToken) -> None:
    uri = certified.uri("node")
    report = checked(f'[identities.node]\nkey = "{uri}"\n')
    assert report.is_usable
    assert [identity.name for identity in report.identities] == ["node"]


def test_a_remark_of_the_key_policy_is_a_warning(checked, certified: TestToken, tmp_path: Path) -> None:
    from tests.hsm_dicom.test_identity import import_private_key

    import_private_key(certified, "imported")
    certificate = certify(certified, "imported", Authority(), store=False, anything=True)
    (tmp_path / "c.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    text = '[identities.weak]\ntoken = "test"\nobject = "imported"\ncertificate = "c.pem"\n'
    assert (
        "can be taken off the token" in errors(checked(configuration_text(certified) + text))["identities.weak.object"]
    )
    allowed = checked(configuration_text(certified) + text + 'allow = ["extractable", "not-sensitive"]\n')
    assert allowed.is_usable
    assert any("imported" in problem.text for problem in allowed.problems)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Let access(2), which asks for the real user, answer as to somebody who is not root."""
    before = os.getuid()
    os.setreuid(before or 65534, -1)
    try:
        yield
    finally:
        os.setreuid(before, -1)


def test_a_folder_that_cannot_be_written_is_an_error(checked) -> None:
    with as_nobody():
        report = checked('[events]\nfile = "/etc/events.jsonl"\n')
    assert "cannot be written" in errors(report)["events.file"]


def test_a_store_that_is_a_file_or_below_one_is_an_error(checked, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    listener = '[listeners.{0}]\nae_title = "NODE"\npeers = []\nport = {1}\nstore = "{2}"\n'
    report = checked(
        listener.format("a", 1112, "file")
        + listener.format("b", 1113, "file/deeper")
        + listener.format("c", 1114, "x/y")
    )
    found = errors(report)
    assert "is a file, not a folder" in found["listeners.a.store"]
    assert "is a file, not a folder" in found["listeners.b.store"]
    assert "listeners.c.store" not in found


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('port = "22762"', "The value must be a whole number."),
        ("port = true", "The value must be a whole number."),
        ('check_signatures = "yes"', "The value must be true or false."),
        ("check_signatures = 1", "The value must be true or false."),
        ('idle_seconds = "60"', "The value must be a number."),
    ],
)
def test_a_value_of_another_type_is_not_converted(checked, line: str, sentence: str) -> None:
    report = checked(f'[listeners.main]\nae_title = "NODE"\n{line}\n')
    [problem] = [one for one in report.problems if one.line == 3]
    assert problem.key == f"listeners.main.{line.split(' ')[0]}"
    assert (problem.severity, problem.text) == (Severity.ERROR, sentence)


def test_a_file_of_trust_that_cannot_be_read_is_reported_at_its_key(checked, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    text = '[trust]\nanchors = ["ca.pem"]\nintermediates = ["nowhere.pem"]\ncrls = ["ca.pem"]\n'
    report = checked(text)
    assert sorted((problem.key, problem.line) for problem in report.problems) == [
        ("trust.crls", 4),
        ("trust.intermediates", 3),
    ]
