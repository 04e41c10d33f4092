"""`hsm-dicom key` on a real SoftHSM: the life of a key, from its making to its end."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.key import KeyType, KeyUsage
from hsm_dicom.trust.policy import SERVER_AUTH
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.hsm_dicom.cli.conftest import Node, Run, type_in
from tests.pki import NOW, Authority
from tests.softhsm import MODULE, TestToken
from tokens.pkcs11.ceremony import KeyKind, Usage


def test_the_choices_are_those_of_the_library() -> None:
    assert [k.value for k in KeyType] == [k.value for k in KeyKind]
    assert [u.value for u in KeyUsage] == [u.value for u in Usage]


def test_a_key_from_its_making_to_its_end(run: Run, token: TestToken, tmp_path: Path) -> None:
    generated = run("key", "generate", token.uri(), "--label", "node", "--type", "rsa-2048", "--json").json
    assert generated["schema"] == "hsm-dicom/key-generate/2"
    assert (generated["local"], generated["sensitive"], generated["extractable"]) == (True, True, False)
    uri = generated["uri"]

    request = tmp_path / "node.csr"
    assert (
        run("key", "csr", uri, "--subject", "CN=CT 1,O=Radiology", "--dns", "ct1.example", "--out", request).status == 0
    )
    csr = x509.load_pem_x509_csr(request.read_bytes())
    assert csr.is_signature_valid
    assert csr.subject.rfc4514_string() == "CN=CT 1,O=Radiology"

    ca = Authority()
    certificate = certify(token, "node", ca, store=False)
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(ca.issue("Stranger").pem)
    refused = run("key", "import-cert", uri, stranger)
    assert refused.status == exits.FAILED
    assert "is not for key 'node'" in refused.err
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.public_bytes(_pem()) + ca.pem)
    stored = run("key", "import-cert", uri, chain)
    assert "with 1 CA certificate" in stored.said

    listed = run("key", "list", token.uri())
    assert "node RSA 2048, signs" in listed.said
    assert "certificate CN=Signer node, by CN=Test CA" in listed.said

    assert f"--yes '{'node'}'" in run("key", "delete", uri).err
    assert run("key", "delete", uri, "--yes", "node").status == exits.OK
    assert "There is no private key" in run("key", "list", token.uri()).said


def test_deleting_is_confirmed_by_typing_the_label(token: TestToken) -> None:
    uri = token.generate("old", "p256")
    wrong = type_in(["key", "delete", uri], [("Type 'old' to confirm: ", "new")])
    assert "'new' is not 'old': nothing was deleted" in wrong.said
    right = type_in(["key", "delete", uri], [("Type 'old' to confirm: ", "old")])
    assert right.status == exits.OK


def test_a_deletion_names_the_identities_whose_key_it_is(run: Run, token: TestToken, tmp_path: Path) -> None:
    for label in ("node", "spare"):
        token.generate(label, "p256")
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(
        configuration_text(token, "ct-room")
        + '[identities.node]\ntoken = "ct-room"\nobject = "node"\n'
        + f'[identities.archive]\nkey = "pkcs11:serial={token.serial};object=node"\n'
        + '[identities.other]\ntoken = "ct-room"\nobject = "spare"\n'
    )
    record = tmp_path / "record.json"
    asked = ("key", "delete", token.uri("node"), "--config", config)
    assert "It is the key of the identities 'node', 'archive' in the configuration." in run(*asked).err
    done = run(*asked, "--yes", "node", "--record", record)
    assert done.status == exits.OK, done.said
    assert "it was the key of the identities 'node', 'archive'" in " ".join(done.said.split())
    assert json.loads(record.read_text())["used_by"] == ["node", "archive"]
    assert "node, archive" in record.with_suffix(".html").read_text()


def test_the_only_key_of_a_token_is_not_destroyed_because_the_token_was_named(run: Run, token: TestToken) -> None:
    token.generate("only", "p256")
    for named in (token.uri(), str(token.uri()).replace("?", ";type=private?")):
        result = run("key", "delete", named, "--yes", "only")
        assert result.status == exits.USAGE
        assert "Name the key as well" in result.said
    assert [key["label"] for key in run("key", "list", token.uri(), "--json").json["keys"]] == ["only"]
    assert run("key", "csr", token.uri(), "--subject", "CN=x").status == exits.OK


def test_an_expiring_certificate_is_remarked_upon(run: Run, token: TestToken) -> None:
    for label, days in (("soon", 10), ("gone", -1), ("fine", 400)):
        token.generate(label, "p256")
        certify(token, label, Authority(), ends=NOW + timedelta(days=days))
    keys = {key["label"]: key for key in run("key", "list", token.uri(), "--json").json["keys"]}
    remarks = {label: key["certificates"][0]["remark"] for label, key in keys.items()}
    assert "expires in" in remarks["soon"]
    assert "expired on" in remarks["gone"]
    assert remarks["fine"] is None
    text = run("key", "list", token.uri(), "--warn-days", "5").said
    assert "expires in" not in text
    assert "expired on" in text


def serials(run: Run, token: TestToken) -> list[str]:
    (key,) = run("key", "list", token.uri(), "--json").json["keys"]
    return [certificate["serial"] for certificate in key["certificates"]]


def test_one_certificate_of_a_key_is_deleted(run: Run, token: TestToken) -> None:
    uri = token.generate("node", "p256")
    old, new = (f"{certify(token, 'node', Authority()).serial_number:x}" for _ in range(2))
    shown = run("key", "list", token.uri()).said
    assert f"serial {old}" in shown
    both = run("key", "delete-cert", uri)
    assert both.status == exits.FAILED
    assert "has 2 certificates; name one with --serial: " in both.err
    assert f"{new} (of 'CN=Signer node', until " in both.err
    other = run("key", "delete-cert", uri, "--serial", "77")
    assert "has no certificate with serial number 77; it has: " in other.err
    assert run("key", "delete-cert", uri, "--serial", "old").status == exits.USAGE
    unconfirmed = run("key", "delete-cert", uri, "--serial", old)
    assert f"--yes '{old}'" in unconfirmed.err
    assert sorted(serials(run, token)) == sorted([old, new])
    colons = ":".join(old[max(0, end - 2) : end] for end in range(len(old) % 2 or 2, len(old) + 1, 2))
    deleted = run("key", "delete-cert", uri, "--serial", colons, "--yes", old)
    assert deleted.status == exits.OK, deleted.said
    assert "was deleted; key 'node' was kept" in deleted.said
    assert serials(run, token) == [new]
    assert run("key", "delete-cert", uri, "--yes", new).status == exits.OK
    assert serials(run, token) == []
    assert "has no certificate on the token" in run("key", "delete-cert", uri).err
    assert run("key", "csr", uri, "--subject", "CN=x").status == exits.OK


def test_the_certificate_in_use_and_the_old_ones_are_marked(run: Run, token: TestToken, tmp_path: Path) -> None:
    uri = token.generate("node", "p256")
    ends = {"old": 100, "in-use": 200, "later": 300}
    numbers = {}
    for state, days in ends.items():
        begins = NOW + timedelta(days=50) if state == "later" else NOW - timedelta(days=1)
        numbers[state] = certify(
            token, "node", Authority(), begins=begins, ends=NOW + timedelta(days=days)
        ).serial_number
    (key,) = run("key", "list", token.uri(), "--json").json["keys"]
    assert {one["state"]: int(one["serial"], 16) for one in key["certificates"]} == numbers
    shown = run("key", "list", token.uri()).said
    assert all(
        f"{NOW + timedelta(days=days):%Y-%m-%d}, {word}" in shown for days, word in ((100, "old"), (200, "in use"))
    )
    assert f"valid from {NOW + timedelta(days=50):%Y-%m-%d}" in shown
    serial = f"{numbers['in-use']:x}"
    assert "It is the one in use." in run("key", "delete-cert", uri, "--serial", serial).said
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(
        f'[tokens.room]\nmodule = "{MODULE}"\nlabel = "{token.label}"\npin = "{token.pin}"\n'
        '[identities.ct]\ntoken = "room"\nobject = "node"\ncertificate = "ct.pem"\n'
    )
    config.chmod(0o600)
    shown = run("key", "list", "ct", "--config", config).said
    assert "identity ct uses the certificate in" in shown
    assert ", not used" in shown


def test_deleting_a_certificate_is_confirmed_by_typing_its_serial_number(token: TestToken) -> None:
    uri = token.generate("node", "p256")
    serial = f"{certify(token, 'node', Authority()).serial_number:x}"
    wrong = type_in(["key", "delete-cert", uri], [(f"Type '{serial}' to confirm: ", "node")])
    assert f"'node' is not '{serial}': nothing was deleted" in wrong.said


@pytest.mark.parametrize("written", ["{:X}", "0{:X}", "{:x}"])
def test_a_deletion_is_confirmed_with_the_serial_number_as_openssl_prints_it(
    run: Run, token: TestToken, written: str
) -> None:
    uri = token.generate("node", "p256")
    serial = certify(token, "node", Authority()).serial_number
    assert run("key", "delete-cert", uri, "--yes", "").status == exits.FAILED
    assert run("key", "delete-cert", uri, "--yes", f"{serial + 1:X}").status == exits.FAILED
    assert run("key", "delete-cert", uri, "--yes", written.format(serial)).status == exits.OK
    assert serials(run, token) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--type", "p256", "--usage", "decrypt"), "A p256 key cannot be used to decrypt"),
        (("--label", "rsa"), "exists on"),
    ],
)
def test_what_cannot_be_generated(run: Run, node: TestToken, arguments: tuple[str, ...], words: str) -> None:
    result = run("key", "generate", node.uri(), *(() if "--label" in arguments else ("--label", "x")), *arguments)
    assert result.status == exits.FAILED
    assert words in result.err


def test_an_id_that_is_not_hexadecimal_is_a_usage_error(run: Run, node: TestToken) -> None:
    assert run("key", "generate", node.uri(), "--label", "x", "--id", "xyz").status == exits.USAGE


def test_no_pin_is_ever_an_argument(run: Run) -> None:
    """The help of every option about PINs says SOURCE, and nothing takes a value."""
    for command in (("token", "init"), ("token", "login"), ("key", "list")):
        said = run(*command, "--help").said
        assert "--pin SOURCE" in said


def _pem() -> object:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


def test_a_file_that_exists_is_not_replaced(run: Run, signing_node: Node, tmp_path: Path) -> None:
    there = tmp_path / "node.csr"
    there.write_text("the CA has this one")
    for command in (("csr", "--subject", "CN=CT 1"), ("public",)):
        name, *options = command
        result = run("key", name, "node", *options, "--out", there, "--config", signing_node.config)
        assert result.status == 2
        assert "exists, and is not replaced" in result.said
    assert there.read_text() == "the CA has this one"


def test_what_cas_send_is_imported_in_any_order(run: Run, token: TestToken, tmp_path: Path) -> None:
    root = Authority("Root")
    issuing = root.authority("Issuing CA")
    token.generate("node")
    own = certify(token, "node", issuing, store=False)
    bundle = tmp_path / "bundle.p7b"
    bundle.write_bytes(pkcs7.serialize_certificates([root.certificate, own, issuing.certificate], Encoding.DER))
    said = run("key", "import-cert", token.uri("node"), bundle).said
    assert "with 2 CA certificates" in said
    assert "not for" not in said
    server = tmp_path / "server.pem"
    server.write_bytes(certify(token, "node", root, store=False, extended=[SERVER_AUTH]).public_bytes(Encoding.PEM))
    assert (
        "It can be used for TLS server, not for TLS client or signing."
        in run("key", "import-cert", token.uri("node"), server).said
    )
    assert f"certificate {own.subject.rfc4514_string()}, by CN=Issuing CA" in run("key", "list", token.uri()).said


def test_a_renewal_that_ends_sooner_is_reported_as_not_in_use(run: Run, token: TestToken, tmp_path: Path) -> None:
    ca = Authority()
    token.generate("node")
    certify(token, "node", ca, ends=NOW + timedelta(days=300))
    sent = tmp_path / "renewed.pem"
    sent.write_bytes(certify(token, "node", ca, store=False, ends=NOW + timedelta(days=200)).public_bytes(Encoding.PEM))
    said = run("key", "import-cert", token.uri("node"), sent).said
    assert "It is not in use: the key has a certificate that is valid longer" in said
    command = said.rsplit("hsm-dicom ", 1)[1].split()
    serial = command[command.index("--serial") + 1]
    run("key", "delete-cert", token.uri("node"), "--serial", serial, "--yes", serial)
    assert "not in use" not in run("key", "import-cert", token.uri("node"), sent).said


def test_certificates_that_cannot_be_meant_are_refused_before_anything_is_stored(
    run: Run, token: TestToken, tmp_path: Path
) -> None:
    ca = Authority()
    token.generate("node")
    own = certify(token, "node", ca, store=False)
    stranger = ca.issue("Stranger")

    def store(content: bytes) -> str:
        file = tmp_path / "sent"
        file.write_bytes(content)
        result = run("key", "import-cert", token.uri("node"), file)
        assert result.status != exits.OK
        return result.said

    assert "are not one chain: 'CN=Stranger'" in store(own.public_bytes(Encoding.PEM) + stranger.pem)
    pfx = pkcs12.serialize_key_and_certificates(b"x", stranger.key, stranger.certificate, None, NoEncryption())
    assert "is a PKCS#12 file" in store(pfx)
    ended = certify(token, "node", ca, store=False, begins=NOW - timedelta(days=90), ends=NOW - timedelta(days=1))
    assert "expired on" in store(ended.public_bytes(Encoding.PEM))
    request = run("key", "csr", token.uri("node"), "--subject", "CN=node").out
    assert "is a certificate request. Send it to the CA" in store(request.encode())
    assert "holds a private key and no certificate" in store(
        stranger.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert "by CN=Test CA" not in run("key", "list", token.uri()).said
