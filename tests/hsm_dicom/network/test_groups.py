"""A node whose key is on two tokens: `listen`, `echo` and `store` while one loses the key, and what commands report."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

import tokens
from hsm_dicom.cli import exits
from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.listening import listening
from tests.hsm_dicom.network.test_cli import Site
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tests.softhsm import MODULE, new_token
from tests.tokens.group.conftest import Copies, new_copies
from tokens import trials
from tokens.pkcs11.ceremony import delete_key


class GroupSite(Site):
    """The same site, its node with the tokens `hsm-a` and `hsm-b`."""

    def write_group(self, copies: Copies, hospital: Hospital) -> None:
        issued = hospital.ca.issue(
            "node group", key=copies.key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()]
        )
        self.write(copies.tokens[0], hospital)
        (self.folder / "node.pem").write_bytes(issued.certificate.public_bytes(Encoding.PEM))
        (self.folder / "node.key").write_bytes(issued.key_pem)
        tables = [
            f'[tokens.{name}]\nmodule = "{MODULE}"\nserial = "{token.serial}"\npin = "{token.pin}"\n'
            for name, token in zip(("hsm-a", "hsm-b"), copies.tokens, strict=True)
        ]
        text = self.config.read_text()
        text = "".join(tables) + text[text.index("[identities.node]") :]
        text = text.replace('token = "node"\nobject = "rsa"', 'tokens = ["hsm-a", "hsm-b"]\nobject = "node"')
        text = text.replace('certificate = "node.pem"\n', 'certificate = "node.pem"\nprobe_seconds = 0.2\n', 1)
        self.config.write_text(f'{text}\n[events]\nfile = "events.jsonl"\n')


@pytest.fixture
def copies(softhsm: Path) -> Copies:
    return new_copies(None, None)


@pytest.fixture
def site(tmp_path: Path, copies: Copies, hospital: Hospital) -> GroupSite:
    made = GroupSite(tmp_path)
    made.write_group(copies, hospital)
    return made


def remove_key(copies: Copies, number: int) -> None:
    with tokens.open_token(copies.tokens[number].uri()) as connection:
        delete_key(connection, copies.uris[number])


def test_a_node_goes_on_while_one_of_its_tokens_does_not_work(
    site: GroupSite, copies: Copies, run: Run, tmp_path: Path
) -> None:
    image = ct_image(tmp_path)
    with listening(site.config) as running:
        for number in range(2):
            assert run("echo", "self", "--config", site.config).status == 0
            assert run("store", "self", image, "--config", site.config).status == 0
            if number == 0:
                remove_key(copies, 0)
        assert running.says("node: hsm-a is not used until a probe succeeds, and the key uses hsm-b instead")
        copies.tokens[0].import_key("node", copies.key)
        assert running.says("node: hsm-a is used again after")
        running.process.send_signal(signal.SIGHUP)
        assert running.says("were reloaded")
        assert run("echo", "self", "--config", site.config).status == 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    failed, restored = (
        next(event for event in events if event["event"] == name and event["process"] == running.process.pid)
        for name in ("failed-over", "restored")
    )
    assert (failed["group"], failed["member"], failed["state"], failed["serving"]) == (
        "node",
        "hsm-a",
        "open",
        ["hsm-b"],
    )
    assert restored["duration"] > 0


def test_token_info_and_token_check_of_an_identity_show_each_token(
    site: GroupSite, copies: Copies, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    sound = run("token", "info", "node", "--config", site.config, "--json")
    assert sound.status == exits.OK
    assert sound.json["schema"] == "hsm-dicom/token-group-info/1"
    assert [(one["name"], one["state"], one["fault"]) for one in sound.json["members"]] == [
        ("hsm-a", "closed", None),
        ("hsm-b", "closed", None),
    ]
    checked = run("token", "check", "node", "--config", site.config)
    assert checked.status == exits.OK, checked.said
    assert "node: all 2 tokens sign with the same key." in checked.said
    assert run("token", "check", "hsm-b", "--config", site.config).status == exits.OK

    remove_key(copies, 1)
    info = run("token", "info", "node", "--config", site.config)
    assert info.status == exits.OK
    assert "hsm-a closed" in info.said
    assert "hsm-b open" in info.said
    assert "fault: " in info.said
    again = run("token", "info", "node", "--config", site.config, "--json").json
    recorded = again["members"][1]["recorded"]
    assert (recorded["state"], again["members"][0]["recorded"]) == ("open", None)
    failing = run("token", "check", "node", "--config", site.config, "--json")
    assert failing.status == exits.FAILED
    assert failing.json["schema"] == "hsm-dicom/token-group-check/1"
    assert failing.json["tokens"]["hsm-a"]["check"]["dicom_ready"] is True
    assert "node" in failing.json["tokens"]["hsm-b"]["problem"]
    assert not failing.json["complete"]


def test_the_check_of_a_group_fails_for_another_key(
    site: GroupSite, copies: Copies, hospital: Hospital, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.05)
    other = new_token()
    other.import_key("node", rsa.generate_private_key(65537, 2048))
    site.write_group(Copies((copies.tokens[0], other), copies.key, ()), hospital)
    checked = run("token", "check", "node", "--config", site.config)
    assert checked.status == exits.FAILED
    assert "hsm-b excluded" in checked.said
    assert "is not the key that the certificate is for" in checked.said
    assert "node: 1 of 2 tokens can be used." in checked.said


def test_a_request_is_signed_by_the_group_and_a_change_needs_one_token(
    site: GroupSite, copies: Copies, run: Run
) -> None:
    request = run("key", "csr", "node", "--subject", "CN=node", "--config", site.config)
    assert request.status == exits.OK
    csr = x509.load_pem_x509_csr(request.out.encode())
    assert csr.is_signature_valid
    assert csr.public_key() == copies.key.public_key()
    stored = run("key", "import-cert", "node", site.folder / "node.pem", "--config", site.config)
    assert stored.status == exits.FAILED
    assert "is on several tokens" in stored.err
    assert "hsm-a/node or hsm-b/node" in stored.err
    for name in ("hsm-a/node", "hsm-b/node"):
        stored = run("key", "import-cert", name, site.folder / "node.pem", "--config", site.config)
        assert stored.status == exits.OK, stored.err


@pytest.mark.parametrize("command", [("token", "login"), ("key", "list")], ids=" ".join)
def test_a_command_for_one_token_says_on_which_tokens_the_key_of_an_identity_is(
    site: GroupSite, run: Run, command: tuple[str, str]
) -> None:
    done = run(*command, "node", "--config", site.config)
    assert done.status == exits.FAILED
    assert (
        "'node' is an identity whose key is on several tokens, and this command is for one token. "
        "Name one of them: hsm-a or hsm-b." in done.err
    )
    assert run(*command, "hsm-a", "--config", site.config).status == exits.OK


def test_a_pin_that_no_token_accepts_has_the_exit_status_of_a_refused_one(
    site: GroupSite, copies: Copies, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "0000")
    info = run("token", "info", "node", "--config", site.config, "--pin", "env:WRONG")
    assert info.status == exits.REFUSED
    assert "hsm-a excluded" in info.said
    assert "which holds the same key, so it is not presented to" in info.said


def test_a_node_with_siblings_answers_with_the_one_that_works(
    site: GroupSite, copies: Copies, hospital: Hospital, run: Run
) -> None:
    other = rsa.generate_private_key(65537, 2048)
    second = new_token()
    second.import_key("node", other)
    wishes = {"extended": BOTH_SIDES, "usages": ("digital_signature",), "extensions": [names()]}
    issued = [hospital.ca.issue("node group", key=key, **wishes) for key in (copies.key, other)]
    pair = Copies((copies.tokens[0], second), copies.key, (copies.uris[0], second.uri("node")))
    site.write_group(pair, hospital)
    (site.folder / "node.pem").write_bytes(b"".join(one.pem for one in issued))
    site.config.write_text(site.config.read_text().replace('object = "node"', 'object = "node"\nsiblings = true'))
    with listening(site.config):
        first = run("echo", "self", "--config", site.config, "--json").json
        remove_key(pair, 0)
        for _ in range(2):
            again = run("echo", "self", "--config", site.config, "--json")
            if again.status == exits.OK:
                break
    assert int(first["connection"]["serial"], 16) == issued[0].serial
    assert int(again.json["connection"]["serial"], 16) == issued[1].serial
