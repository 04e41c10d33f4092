"""`[policies.NAME]` in the plan: opened with the trust of the configuration, named by listeners, reloaded with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.config import ConfigurationError
from hsm_dicom.config.devices import NotConfiguredError
from hsm_dicom.network.settings import Quarantine
from hsm_dicom.network.store import store
from hsm_dicom.node import open_policy
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import open_listener, open_peer
from hsm_dicom.node.service import Service
from hsm_dicom.trust import TrustFileError
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.node.conftest import Write
from tests.hsm_dicom.validation.verdict_cases import CA, Desk
from tests.ports import free_port

POLICY = """
[policies.archive]
require = ["creator"]
otherwise = "accept"

[[policies.archive.rules]]
name = "tomography"
when = { modalities = ["CT"] }
issuers = ["CN=Hospital CA"]

"""
LISTENER = """
[peers.self]
host = "127.0.0.1"
ae_titles = ["NODE"]

[listeners.main]
ae_title = "NODE"
port = 1
identities = ["node"]
store = "received"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A configuration without a token."""
    (tmp_path / "signers.pem").write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    return tmp_path


def write_without_token(folder: Path, text: str) -> Path:
    file = folder / "hsm-dicom.toml"
    file.write_text('[trust]\nanchors = ["signers.pem"]\n' + text)
    file.chmod(0o600)
    return file


def test_a_policy_is_opened_by_name_with_the_trust_of_the_configuration(place: Path) -> None:
    plan = read_plan(write_without_token(place, POLICY))
    assert not plan.problems
    validator = open_policy(plan, "archive")
    judged = validator.validate_file(Desk(place).sign())
    assert (judged.is_met, judged.verdict.policy, judged.verdict.rule) == (True, "archive", "tomography")
    assert validator.rules[0].policy.require == {"any", "creator"}


def test_a_policy_that_is_not_there_or_has_a_mistake_is_named(place: Path) -> None:
    plan = read_plan(write_without_token(place, POLICY))
    with pytest.raises(NotConfiguredError, match="has no policy 'other'; its policies: archive"):
        plan.policy("other")
    plan = read_plan(write_without_token(place, POLICY + "requires = []"))
    with pytest.raises(ConfigurationError, match="Did you mean 'require'"):
        plan.policy("archive")
    (place / "signers.pem").unlink()
    with pytest.raises(TrustFileError):
        open_policy(read_plan(write_without_token(place, POLICY)), "archive")


def test_a_listener_names_its_policy(write: Write, tmp_path: Path) -> None:
    plan = read_plan(write(POLICY + LISTENER + 'policy = "archive"\non_unmet = "quarantine"\n'))
    assert not plan.problems
    storage = plan.listener("main").settings.storage
    assert storage is not None
    assert (storage.policy, storage.quarantine) == ("archive", Quarantine(folder=tmp_path / "received/quarantine"))
    plan = read_plan(
        write(
            POLICY + LISTENER + 'policy = "archive"\non_unmet = "quarantine"\nquarantine = "q"\n'
            'quarantine_answer = "success"\n'
        )
    )
    storage = plan.listener("main").settings.storage
    assert storage is not None
    assert storage.quarantine == Quarantine(folder=tmp_path / "q", answers_success=True)


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        (
            'policy = "other"',
            "policy",
            "There is no policy 'other' in the configuration. Write [policies.other], or",
        ),
        (
            'on_unmet = "refuse"',
            "on_unmet",
            "the listener has no policy. Write policy = …, or remove on_unmet.",
        ),
        ('quarantine = "q"', "quarantine", "because the listener has no policy."),
        ('policy = "archive"\nquarantine = "q"', "quarantine", 'Write on_unmet = "quarantine", or remove quarantine.'),
        ('policy = "archive"\nquarantine_answer = "success"', "quarantine_answer", "Write on_unmet ="),
        ('policy = "archive"\ncheck_signatures = true', "check_signatures", "Remove check_signatures."),
    ],
)
def test_keys_that_mean_nothing_are_mistakes(write: Write, keys: str, key: str, words: str) -> None:
    problems = [one for one in read_plan(write(POLICY + LISTENER + keys + "\n")).problems if one.severity == "error"]
    assert problems
    assert all(one.key == f"listeners.main.{key}" for one in problems)
    assert any(words in str(one) for one in problems)


def test_a_policy_without_a_store_is_a_mistake(write: Write) -> None:
    text = LISTENER.replace('store = "received"\n', "") + 'policy = "archive"\n'
    (problem,) = read_plan(write(POLICY + text)).problems
    assert "because the listener has no store." in str(problem)


def test_check_signatures_is_an_alias_with_a_warning(write: Write) -> None:
    plan = read_plan(write(LISTENER + "check_signatures = true\n"))
    (problem,) = plan.problems
    assert (problem.severity, problem.key) == ("warning", "listeners.main.check_signatures")
    assert 'Write policy = "NAME"' in problem.remedy
    storage = plan.listener("main").settings.storage
    assert storage is not None
    assert storage.check_signatures


def test_a_listener_whose_policy_has_a_mistake_cannot_be_used(write: Write) -> None:
    plan = read_plan(write("[policies.archive]\nrequre = []\n" + LISTENER + 'policy = "archive"\n'))
    assert [one.key for one in plan.problems] == ["policies.archive.requre"]
    with pytest.raises(ConfigurationError):
        plan.listener("main")


def test_a_reload_uses_the_policy_that_the_file_has_then(write: Write, tmp_path: Path) -> None:
    port = free_port()

    def load(demand: str) -> Path:
        listener = LISTENER.replace("port = 1", f"port = {port}").replace("ae_titles", f"port = {port}\nae_titles")
        return write(POLICY.replace("issuers = ", f"{demand}\nissuers = ") + listener + 'policy = "archive"\n')

    file = load('unsigned = "accept"')
    with (
        Service(lambda: open_listener(read_plan(file))) as service,
        open_peer(read_plan(file), "self") as (peer, transport, title),
    ):
        assert store(peer, transport, title, [ct_image(tmp_path, "1.dcm")]).done
        load("")
        assert service.reload()
        assert not store(peer, transport, title, [ct_image(tmp_path, "2.dcm")]).done


def test_check_config_reports_policies_that_can_never_be_met(place: Path) -> None:
    text = POLICY.replace("CN=Hospital CA", "CN=Other CA")
    (problem,) = check_configuration(write_without_token(place, text)).problems
    assert (problem.severity, problem.key, problem.line) == ("error", "policies.archive.rules.0.issuers", 11)
    assert "No object can meet tomography: no trust anchor leads to 'CN=Other CA'" in problem.text
    plan = read_plan(write_without_token(place, POLICY + 'key_types = ["ec"]\n'))
    (problem,) = plan.problems
    assert (problem.key, problem.line) == ("policies.archive.rules.0.key_types", 13)
    assert not check_configuration(write_without_token(place, POLICY)).problems
