"""What is printed can be copied: each printed name, URI and command means the same token and key again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from pkcs11 import Attribute

from hsm_dicom.cli import exits
from hsm_dicom.cli.context import get_token_access
from hsm_dicom.config import load_configuration
from tests.hsm_dicom.cli.conftest import Node, Result, Run, image
from tests.softhsm import MODULE, TestToken
from tokens import open_token
from tokens.pkcs11.key_pairs import KeyKind, generate_pair
from tokens.uri import Pkcs11Uri


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A module as a vendor's package installs it: a name that an upgrade sets to another file."""
    (tmp_path / "libhsm.so").symlink_to(MODULE)
    return tmp_path / "libhsm.so"


@pytest.fixture
def config(tmp_path: Path, token: TestToken, link: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that is found, with a token `ct room` whose module is named by the link."""
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f'[tokens.rehearsal]\nmodule = "{link}"\nlabel = "{token.label}"\npin = "{token.pin}"\n')
    file.chmod(0o600)
    monkeypatch.setenv("HSM_DICOM_CONFIG", str(file))
    return file


def printed(answer: Result) -> list[str]:
    """The command that an answer ends with, as its words."""
    assert answer.status == exits.OK, answer.said
    (line,) = [line.strip() for line in answer.out.splitlines() if line.strip().startswith("hsm-dicom ")]
    return shlex.split(line)[1:]


def follow(run: Run, words: list[str], **values: str) -> Result:
    """Run a command that was printed, with its placeholders filled in."""
    return run(*(values.get(word, word) for word in words))


def test_with_a_configured_token_each_step_prints_the_next_by_its_name(
    run: Run, token: TestToken, config: Path, tmp_path: Path
) -> None:
    step = printed(run("key", "list", "rehearsal"))
    assert step == ["key", "generate", "rehearsal", "--label", "NAME"]
    step = printed(follow(run, [*step, "--type", "p256"], NAME="node"))
    assert step[:3] == ["key", "csr", "rehearsal/node"]
    step = printed(follow(run, step, **{"node.csr": str(tmp_path / "node.csr")}))
    assert step == ["key", "import-cert", "rehearsal/node", "CERTIFICATE.pem"]
    assert "rehearsal/node" in run("key", "list", "rehearsal").said
    assert run("key", "delete", "rehearsal/node", "--yes", "node").status == exits.OK


def test_a_uri_that_names_the_file_behind_the_configured_link_gets_what_is_configured(
    run: Run, token: TestToken, config: Path
) -> None:
    token.generate("node", "p256")
    for module in (MODULE, MODULE.resolve(), config.with_name("libhsm.so")):
        uri = Pkcs11Uri(token=token.label, object="node", module_path=module)
        assert run("key", "csr", uri, "--subject", "CN=x").status == exits.OK
    other = Pkcs11Uri(token=token.label, object="node", module_path=Path("/nowhere/libhsm.so"))
    assert "There is no PKCS#11 module at /nowhere/libhsm.so" in run("key", "csr", other, "--subject", "CN=x").err


def test_options_that_were_typed_are_repeated(
    run: Run, token: TestToken, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HSM_DICOM_CONFIG")
    elsewhere = config.rename(tmp_path / "another place.toml")
    pin = tmp_path / "pin"
    pin.write_text(os.environ[token.pin.removeprefix("env:")])
    pin.chmod(0o600)
    typed = ("--config", elsewhere, "--pin", f"file:{pin}")
    step = printed(run("key", "generate", "rehearsal", "--label", "a", "--type", "p256", *typed))
    assert step[-4:] == ["--pin", f"file:{pin}", "--config", str(elsewhere)]
    step = printed(follow(run, step, **{"node.csr": str(tmp_path / "node.csr")}))
    assert step[2:] == ["rehearsal/a", "CERTIFICATE.pem", "--pin", f"file:{pin}", "--config", str(elsewhere)]


def test_without_a_configuration_a_uri_works_as_it_stands(
    run: Run, token: TestToken, link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tmp_path / "pin"
    pin.write_text(os.environ[token.pin.removeprefix("env:")])
    pin.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    named = f"pkcs11:serial={token.serial}"
    typed = ("--pin", "file:pin", "--module", "libhsm.so")
    step = printed(run("key", "generate", named, "--label", "a", "--type", "p256", *typed))
    uri = Pkcs11Uri.parse(step[2])
    assert (uri.module_path, uri.pin_source) == (link, f"file:{pin}")
    monkeypatch.chdir("/")
    step = printed(follow(run, step, **{"node.csr": str(tmp_path / "node.csr")}))
    assert Pkcs11Uri.parse(step[2]) == uri
    listed = run("key", "list", uri, "--json").json
    assert listed["keys"][0]["uri"] == str(uri)
    assert run("key", "csr", listed["keys"][0]["uri"], "--subject", "CN=x").status == exits.OK


def test_a_uri_names_the_link_and_not_the_file_that_an_upgrade_removes(run: Run, token: TestToken, link: Path) -> None:
    # In a process of its own: here the module is known by another name already.
    import subprocess

    from tests.hsm_dicom.cli.conftest import PROGRAM

    command = [*PROGRAM, "token", "list", "--module", str(link)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"module-path={link}" in said
    assert str(MODULE.resolve()) not in said


def test_two_keys_of_one_label_get_two_uris(run: Run, token: TestToken, config: Path) -> None:
    with open_token(token.uri()) as connection, connection.writable() as session:
        for number in (b"\1", b"\2"):
            named = {Attribute.TOKEN: True, Attribute.ID: number, Attribute.LABEL: "same"}
            generate_pair(connection.module.queries, session, KeyKind.RSA_2048, named, named)
    token.generate("other", "p256")
    keys = run("key", "list", "rehearsal", "--json").json["keys"]
    uris = {key["id"]: Pkcs11Uri.parse(key["uri"]) for key in keys if key["label"] == "same"}
    assert {number: uri.id for number, uri in uris.items()} == {"01": b"\1", "02": b"\2"}
    (other,) = [Pkcs11Uri.parse(key["uri"]) for key in keys if key["label"] == "other"]
    assert other.id is None
    words = [line.strip() for line in run("key", "list", "rehearsal").out.splitlines()]
    assert "rehearsal/other" in words
    assert "rehearsal/same" not in words
    for uri in uris.values():
        assert shlex.quote(str(uri)) in words
        assert run("key", "delete", uri, "--yes", "same").status == exits.OK
    assert [key["label"] for key in run("key", "list", "rehearsal", "--json").json["keys"]] == ["other"]


@pytest.mark.parametrize("label", ["with/slash", "two words", "it's", "ümläut"])
def test_a_label_of_any_kind_can_be_copied(
    run: Run, token: TestToken, config: Path, label: str, tmp_path: Path
) -> None:
    step = printed(run("key", "generate", "rehearsal", "--label", label, "--type", "p256"))
    assert step[2] == f"rehearsal/{label}"
    assert follow(run, step, **{"node.csr": str(tmp_path / "node.csr")}).status == exits.OK


def test_a_label_with_control_characters_is_printed_as_a_uri(run: Run, token: TestToken, config: Path) -> None:
    step = printed(run("key", "generate", "rehearsal", "--label", "a\x1b[2Jb", "--type", "p256"))
    assert Pkcs11Uri.parse(step[2]).object == "a\x1b[2Jb"


def test_a_key_that_is_not_there_and_a_token_that_is_not_configured_are_sentences(
    run: Run, token: TestToken, config: Path
) -> None:
    missing = run("key", "csr", "rehearsal/nobody", "--subject", "CN=x")
    assert "No private key on token" in missing.err
    assert "label 'nobody'" in missing.err
    unknown = run("key", "csr", "elsewhere/node", "--subject", "CN=x")
    assert "'elsewhere/node' is neither a token of the configuration (there: rehearsal), nor NAME/LABEL" in unknown.err


def test_a_new_token_is_named_as_the_configuration_names_it(
    run: Run, token: TestToken, config: Path, tmp_path: Path
) -> None:
    label = f"{token.label} new"
    options = ("--label", label, "--so-pin", token.so_pin, "--pin", token.pin, "--module", MODULE)
    step = printed(run("token", "init", *options))
    uri = Pkcs11Uri.parse(step[2])
    assert (uri.token, uri.pin_source) == (label, token.pin)
    assert follow(run, [*step, "--type", "p256"], NAME="a").status == exits.OK
    again = f"{label} again"
    section = f'[tokens.again]\nmodule = "{MODULE}"\nlabel = "{again}"\npin = "{token.pin}"\n'
    config.write_text(config.read_text() + section)
    step = printed(run("token", "init", "--label", again, *options[2:6]))
    assert step == ["key", "generate", "again", "--label", "NAME"]
    assert follow(run, [*step, "--type", "p256"], NAME="a").status == exits.OK


@pytest.mark.parametrize(
    "command", ["token info", "token login", "token clear-rejected-pin", "key list", "secret list"]
)
def test_the_name_of_an_identity_selects_the_token_of_its_key(run: Run, signing_node: Node, command: str) -> None:
    done = run(*command.split(), "node", "--config", signing_node.config)
    assert done.status == exits.OK, done.err


def test_the_name_of_an_identity_is_a_key_and_a_misspelt_one_lists_them(
    run: Run, signing_node: Node, tmp_path: Path
) -> None:
    config = ("--config", signing_node.config)
    assert run("sign", image(), "-o", tmp_path / "s.dcm", "--key", "node", *config).status == exits.OK
    configuration = load_configuration(signing_node.config)
    for selects, label in ((True, "node"), (False, None)):
        access = get_token_access(configuration, "node", pin=None, module=None, select_key=selects)
        assert access.uri.object == label
    for command in (("key", "public"), ("key", "list")):
        assert "The identities of the configuration: node." in run(*command, "nod", *config).err
    assert "this command is for smart cards" in run("card", "info", "node", *config).err
