"""`hsm-dicom key csr` and `key public` on a real SoftHSM: what a CA is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    load_pem_public_key,
)

from hsm_dicom.cli import exits
from tests.hsm_dicom.cli.conftest import Node, Run, run_program
from tests.pki import Authority
from tests.softhsm import TestToken
from tokens import open_key


def test_a_key_is_named_by_its_identity_too(run: Run, signing_node: Node) -> None:
    result = run("key", "csr", "node", "--config", signing_node.config, "--subject", "CN=x")
    assert x509.load_pem_x509_csr(result.out.encode()).is_signature_valid


def test_the_request_asks_for_what_the_key_can(run: Run, node: TestToken) -> None:
    signing = x509.load_pem_x509_csr(run("key", "csr", node.uri("rsa"), "--subject", "CN=x").out.encode())
    usage = signing.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature


@pytest.mark.parametrize("bits", ["rsa-2048", "rsa-3072"])
def test_a_key_that_only_decrypts_gets_a_request_and_a_certificate(
    run: Run, token: TestToken, tmp_path: Path, bits: str
) -> None:
    uri = token.generate("film", bits, "decrypt")
    request = tmp_path / "film.csr"
    done = run("key", "csr", uri, "--subject", "CN=film", "--dns", "film.example", "--out", request)
    assert done.status == exits.OK, done.said
    csr = x509.load_pem_x509_csr(request.read_bytes())
    assert csr.is_signature_valid
    usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment
    assert not usage.digital_signature
    issued = Authority().issue("film", key=csr, usages=("key_encipherment",))
    (tmp_path / "film.pem").write_bytes(issued.pem)
    assert run("key", "import-cert", uri, tmp_path / "film.pem").status == exits.OK
    listed = run("key", "list", token.uri()).said
    assert "decrypts" in listed
    assert "signs" not in listed


@pytest.mark.parametrize(
    ("label", "usage", "words"),
    [
        ("ec256", "decrypt", "An EC key cannot be used to decrypt, so its certificate cannot be for that."),
        ("rsa", "decrypt", "may not decrypt (CKA_DECRYPT is false), so its certificate cannot be for that."),
        ("decrypt", "tls", "may not sign (CKA_SIGN is false), so its certificate cannot be for that."),
    ],
)
def test_a_request_for_what_the_key_cannot_do_is_refused(
    run: Run, node: TestToken, label: str, usage: str, words: str
) -> None:
    refused = run("key", "csr", node.uri(label), "--subject", "CN=x", "--usage", usage)
    assert (refused.status, refused.out) == (exits.FAILED, "")
    assert words in " ".join(refused.err.split())


def test_a_public_key_is_written_for_a_ca(run: Run, node: TestToken, tmp_path: Path) -> None:
    for label in ("rsa", "ec256", "decrypt"):
        written = tmp_path / f"{label}.pem"
        assert run("key", "public", node.uri(label), "--out", written).status == exits.OK
        assert run("key", "public", node.uri(label)).out.encode() == written.read_bytes()
        with open_key(node.uri(label)) as key:
            assert load_pem_public_key(written.read_bytes()) == key.public_key()


def test_a_token_that_does_not_decrypt_without_padding_leads_to_the_public_key(node: TestToken, tmp_path: Path) -> None:
    complete = Path(os.environ["SOFTHSM2_CONF"]).read_text()
    without = tmp_path / "softhsm2.conf"
    without.write_text(complete.replace("slots.mechanisms = ALL", "slots.mechanisms = CKM_RSA_PKCS"))
    result = run_program("key", "csr", node.uri("decrypt"), "--subject", "CN=x", SOFTHSM2_CONF=str(without))
    assert result.status == exits.FAILED
    assert "does not decrypt without padding (CKM_RSA_X_509)" in result.err
    assert "Write its public key with hsm-dicom key public" in result.err
    assert "-force_pubkey" in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--subject", "CT 1"), "--subject: The part 'CT 1' of the subject 'CT 1' names no attribute."),
        (("--subject", "CN=a", "--dns", "10.0.0.7"), "--dns: '10.0.0.7' is an IP address, not a host name. Write --ip"),
        (("--subject", "CN=a", "--eku", "clientAuht"), "--eku: 'clientAuht' is no known extended key usage. Did you"),
        ((), "--subject: There is no certificate with"),
        (("--like", "{uri}"), "--like: There is no certificate with"),
    ],
)
def test_each_mistake_in_a_request_names_its_option(
    run: Run, node: TestToken, options: tuple[str, ...], said: str
) -> None:
    uri = str(node.uri("rsa"))
    refused = run("key", "csr", uri, *(one.format(uri=uri) for one in options))
    assert refused.status == exits.USAGE
    assert f"Invalid value for {said}" in refused.said


def test_a_request_has_the_names_and_usages_that_were_typed(run: Run, node: TestToken) -> None:
    names = ("--dns", "ct1.example", "--ip", "10.0.0.7", "--email", "it@klinik.example", "--uri", "urn:oid:1.2.3")
    subject = ("--subject", "/C=DE/O=Klinik/CN=CT 1")
    made = run("key", "csr", node.uri("rsa"), *subject, *names, "--eku", "clientAuth", "--eku", "1.2.3.4")
    request = x509.load_pem_x509_csr(made.out.encode())
    assert request.subject.rfc4514_string() == "CN=CT 1,O=Klinik,C=DE"
    alternatives = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in alternatives] == list(names[1::2])
    extended = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in extended] == ["1.3.6.1.5.5.7.3.2", "1.2.3.4"]
    # A certificate for TLS signs handshakes, and is no commitment.
    assert not request.extensions.get_extension_for_class(x509.KeyUsage).value.content_commitment


@pytest.mark.parametrize(
    ("usages", "said"),
    [
        (("--usage", "tls"), "for TLS client and TLS server, not for signing. Send it to your own CA: from 2027"),
        (("--eku", "serverAuth"), "for TLS server, not for TLS client or signing. Name another identity, whose"),
        (("--eku", "clientAuth"), "for TLS client, not for TLS server or signing. Name another identity, whose"),
    ],
)
def test_a_request_says_what_the_certificate_will_not_do(
    run: Run, node: TestToken, usages: tuple[str, str], said: str
) -> None:
    done = run("key", "csr", node.uri("rsa"), "--subject", "CN=x", *usages)
    assert x509.load_pem_x509_csr(done.out.encode()).is_signature_valid
    assert said in " ".join(done.err.split())


def test_a_renewal_asks_for_what_the_identity_has(run: Run, signing_node: Node, node: TestToken) -> None:
    config = ("--config", signing_node.config)
    same = x509.load_pem_x509_csr(run("key", "csr", "node", *config).out.encode())
    assert same.subject.rfc4514_string() == "CN=Signer node"
    successor = run("key", "csr", node.uri("ec256"), "--like", "node", "--dns", "ct1.example", *config)
    request = x509.load_pem_x509_csr(successor.out.encode())
    assert (request.subject, request.public_key() == same.public_key()) == (same.subject, False)
    assert "ct1.example" in str(request.extensions)


def test_each_missing_or_ambiguous_key_has_its_sentence(run: Run, token: TestToken) -> None:
    token.generate("a", "p256", key_id=b"\x01")
    token.generate("b", "p256", key_id=b"\x02")
    subject = ("--subject", "CN=x")
    assert "No private key on" in run("key", "csr", token.uri("c"), *subject).err
    assert "2 private keys on" in run("key", "csr", token.uri(), *subject).err
    public = str(token.uri("a")).replace("object=a", "object=a;type=public")
    assert "A private key is needed" in run("key", "csr", public, *subject).err
