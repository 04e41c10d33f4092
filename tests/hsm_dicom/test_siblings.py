"""An identity with a key and a certificate of its own on each of two tokens, one of which is chosen for each use."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

import hsm_dicom
import tokens
from hsm_dicom.config import load_configuration
from hsm_dicom.identity import Identity, load_identity, locate_key
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import Resources
from hsm_dicom.node.readiness import Readiness
from hsm_dicom.tls import client_context, make_handshake_error, server_context
from hsm_dicom.tls.errors import LegacyRefusedError
from hsm_dicom.tls.legacy import PROFILES
from hsm_dicom.tls.legacy.keys import make_decrypter, make_signer
from hsm_dicom.trust import CertificateValidator, TrustStore
from tests.hsm_dicom.ceremony import configuration_text
from tests.hsm_dicom.test_groups import image
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, names
from tests.hsm_dicom.tls.handshakes import handshake
from tests.pki import Authority, new_key
from tests.softhsm import TestToken, new_token
from tests.tokens.group.conftest import new_copies
from tokens.errors import MemberUnfitError, NoSuchKeyError, SeveralKeysError
from tokens.events import FailedOver, subscribe
from tokens.pkcs11.ceremony import delete_key

NODE = '[identities.node]\ntokens = ["hsm-a", "hsm-b"]\nobject = "node"\nsiblings = true\ncertificate = "node.pem"\n'


@dataclass
class Site:
    """Two tokens with keys of their own, whose certificates are in one file."""

    folder: Path
    pair: tuple[TestToken, TestToken]
    keys: list[rsa.RSAPrivateKey]
    ca: Authority = field(default_factory=lambda: Authority("Test CA", key=new_key("rsa2048")))
    certificates: list[x509.Certificate] = field(default_factory=list)

    def certify(self, *subjects: str) -> None:
        for token, subject in zip(self.pair, subjects, strict=True):
            with tokens.open_key(token.uri("node")) as key:
                issued = self.ca.issue(
                    subject, key=key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()]
                )
            self.certificates.append(issued.certificate)
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in self.certificates)
        (self.folder / "node.pem").write_bytes(pem)

    def write(self, identities: str = NODE) -> Path:
        file = self.folder / "hsm-dicom.toml"
        tables = [configuration_text(token, name) for name, token in zip(("hsm-a", "hsm-b"), self.pair, strict=True)]
        file.write_text("".join(tables) + identities)
        file.chmod(0o600)
        return file

    def open(self, identities: str = NODE) -> Identity:
        return load_identity("node", load_configuration(self.write(identities)))

    def add_key(self, number: int) -> None:
        self.pair[number].import_key("node", self.keys[number])

    def remove_key(self, number: int) -> None:
        with tokens.open_token(self.pair[number].uri()) as connection:
            delete_key(connection, self.pair[number].uri("node"))

    @property
    def validator(self) -> CertificateValidator:
        return CertificateValidator(TrustStore([self.ca.certificate]))

    def peer(self) -> Identity:
        issued = self.ca.issue("CT 1", extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()])
        return Identity("CT 1", issued.key, issued.certificate)


@pytest.fixture
def site(softhsm: object, tmp_path: Path, state_folder: Path) -> Site:
    made = Site(tmp_path, (new_token(), new_token()), [rsa.generate_private_key(65537, 2048) for _ in range(2)])
    for number in range(2):
        made.add_key(number)
    made.certify("node", "node")
    return made


def shown(end: ssl.SSLObject) -> x509.Certificate:
    """The certificate that the other end showed."""
    der = end.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_key_and_certificate_are_those_of_the_first_token(site: Site) -> None:
    with site.open() as identity:
        assert identity.certificate == site.certificates[0]
        assert identity.key.public_key() == site.certificates[0].public_key()
        assert [one.certificate for one in identity.all] == site.certificates
        assert identity.select().certificate == site.certificates[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=lambda one: one.name)
def test_each_handshake_shows_a_sibling_that_works(site: Site, version: ssl.TLSVersion) -> None:
    with site.open() as identity:
        server = server_context([identity], site.validator)
        client = client_context(site.peer(), site.validator)
        client.maximum_version = version
        assert shown(handshake(server, client).client) == site.certificates[0]
        site.remove_key(0)
        with pytest.raises(ssl.SSLError):  # the certificate was sent before the key was missing
            handshake(server, client)
        for _ in range(3):
            ends = handshake(server, client)
            assert shown(ends.client) == site.certificates[1]
            assert ends.exchange(b"data") == b"data"
            assert ends.client.version() == ("TLSv1.3" if version is ssl.TLSVersion.TLSv1_3 else "TLSv1.2")


def test_a_client_shows_a_sibling_that_works(site: Site) -> None:
    with site.open() as identity:
        server = server_context([site.peer()], site.validator)
        client = client_context(identity, site.validator)
        assert shown(handshake(server, client).server) == site.certificates[0]
        site.remove_key(0)
        with pytest.raises(ssl.SSLError):
            handshake(server, client)
        assert shown(handshake(server, client).server) == site.certificates[1]


def test_the_settings_of_a_context_hold_for_every_sibling(site: Site) -> None:
    stranger = Authority("Another CA").issue("CT 1", extended=BOTH_SIDES, extensions=[names()])
    with site.open() as identity:
        server = server_context([identity], site.validator)
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        site.remove_key(0)
        with pytest.raises(ssl.SSLError):
            handshake(server, client_context(site.peer(), site.validator))
        ends = handshake(server, client_context(site.peer(), site.validator))
        assert shown(ends.client) == site.certificates[1]
        assert ends.client.version() == "TLSv1.2"
        for wrong in (Identity("x", stranger.key, stranger.certificate), None):
            mode = {} if wrong else {"authentication": "one-way"}
            with pytest.raises(ssl.SSLError):
                handshake(server, client_context(wrong, site.validator, **mode))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(server, client_context(site.peer(), site.validator), host="elsewhere")
        on_client = client_context(identity, site.validator)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(server_context([site.peer()], site.validator), on_client, host="elsewhere")


def test_siblings_without_a_token_that_works_fail_the_handshake_in_a_sentence(site: Site) -> None:
    with site.open() as identity:
        server = server_context([identity], site.validator)
        client = client_context(site.peer(), site.validator)
        for number in range(2):
            site.remove_key(number)
        for _ in range(3):
            with pytest.raises(ssl.SSLError) as failed:
                handshake(server, client)
            error = make_handshake_error(failed.value, "a peer")
            assert "our key did not sign" in str(error)
            assert "No private key" in str(error)


def test_in_balance_mode_contexts_are_made_once_for_each_sibling(site: Site) -> None:
    with site.open(f'{NODE}mode = "balance"\n') as identity:
        server = server_context([identity], site.validator)
        client = client_context(site.peer(), site.validator)
        first, second = identity.siblings.pool.members
        seen = set()
        for number in range(20):
            first.outstanding, second.outstanding = (0, 1) if number % 2 else (1, 0)
            seen.add(shown(handshake(server, client).client).serial_number)
        assert seen == {one.serial_number for one in site.certificates}
        assert len(server.select._contexts) == 2
        first.outstanding = second.outstanding = 0


def test_a_signature_begins_again_with_the_sibling_when_a_token_is_lost(site: Site) -> None:
    (site.folder / "ca.pem").write_bytes(site.ca.pem)
    heard: list[FailedOver] = []
    with site.open() as identity, subscribe(heard.append, FailedOver):
        first = hsm_dicom.sign(image(), None, identity, profile="base")
        site.remove_key(0)
        second = hsm_dicom.sign(image(), None, identity, profile="base")
        assert [event.member for event in heard] == ["hsm-a"]
    for signed, certificate in zip((first, second), site.certificates, strict=True):
        assert certificate.public_bytes(Encoding.DER) in signed
        assert [one.intact for one in hsm_dicom.signatures.check_integrity(signed).signatures] == [True]
    with site.open() as identity:
        site.remove_key(1)
        with pytest.raises(NoSuchKeyError):
            hsm_dicom.sign(image(), None, identity, profile="base")


def test_a_sibling_that_was_away_at_the_start_is_used_when_it_comes(site: Site) -> None:
    site.remove_key(0)
    with site.open() as identity:
        assert [one.certificate for one in identity.all] == site.certificates[1:]
        server = server_context([identity], site.validator)
        client = client_context(site.peer(), site.validator)
        assert shown(handshake(server, client).client) == site.certificates[1]
        site.add_key(0)
        pool = identity.siblings.pool
        pool.members[0].breaker._due = 0.0
        pool.probe_due()
        assert [one.certificate for one in identity.all] == site.certificates
        assert shown(handshake(server, client).client) == site.certificates[0]


def test_certificates_for_two_subjects_are_no_siblings(site: Site) -> None:
    site.certificates.clear()
    site.certify("node", "another")
    with site.open() as identity:
        assert [one.certificate for one in identity.all] == site.certificates[:1]
        assert "Have certificates issued for one subject" in identity.siblings.pool.members[1].breaker.fault.text
    report = check_configuration(site.write())
    (error,) = [problem for problem in report.problems if problem.severity == "error"]
    assert error.key == "identities.node.tokens"
    assert "'CN=another'" in error.text


def test_keys_of_two_kinds_are_no_siblings(site: Site) -> None:
    site.remove_key(1)
    site.pair[1].generate("node", "p256", usage="tls")
    site.certificates.clear()
    site.certify("node", "node")
    with site.open() as identity:
        fault = identity.siblings.pool.members[1].breaker.fault
        assert fault.kind is MemberUnfitError
        assert "is EC on secp256r1, and the key on the other token is RSA" in fault.text


def test_a_sound_configuration_of_siblings_and_one_of_copies(site: Site) -> None:
    report = check_configuration(site.write())
    assert report.is_usable
    assert all(problem.text.startswith("About its key") for problem in report.problems)
    copies = new_copies(None, None)
    issued = site.ca.issue("node", key=copies.key)
    (site.folder / "node.pem").write_bytes(issued.pem)
    site.pair = copies.tokens
    report = check_configuration(site.write())
    assert "siblings = true is for a key of its own" in "".join(problem.text for problem in report.problems)


def test_one_key_is_not_taken_from_siblings(site: Site) -> None:
    access, _ = locate_key(load_configuration(site.write()), "node")
    with pytest.raises(SeveralKeysError, match="Name one of them: hsm-a/node or hsm-b/node"):
        access.open_key()
    with site.open() as identity:
        for make in (make_signer, make_decrypter):
            with pytest.raises(LegacyRefusedError, match="has a key of its own on each token"):
                make(identity)


def test_a_retired_profile_with_siblings_is_a_mistake_of_the_file(site: Site) -> None:
    legacy = f'legacy = {{ profile = "{next(iter(PROFILES))}", reason = "ticket 1", until = 2099-01-01 }}\n'
    (site.folder / "ca.pem").write_bytes(site.ca.pem)
    tables = f"""
[trust]
anchors = ["ca.pem"]
[peers.ct]
ae_titles = ["CT"]
names = ["ct.example"]
identity = "node"
{legacy}
[listeners.main]
ae_title = "NODE"
port = 11112
identities = ["node"]
peers = ["ct"]
{legacy}
"""
    problems = {problem.key: problem for problem in read_plan(site.write(NODE + tables)).problems}
    for key in ("peers.ct.identity", "listeners.main.identities"):
        assert "has a key of its own on each token, and a retired profile uses one key" in problems[key].text


def test_a_listener_is_ready_while_one_sibling_works(site: Site) -> None:
    with site.open(f"{NODE}probe_seconds = 3600\n") as identity:
        readiness = Readiness("main", "host:1", lambda: Resources([identity]).devices)
        server, client = server_context([identity], site.validator), client_context(site.peer(), site.validator)
        assert readiness.problem == ""
        for number, problem in ((0, ""), (1, "None of the tokens of node works.")):
            site.remove_key(number)
            with pytest.raises(ssl.SSLError):
                handshake(server, client)
            assert readiness.problem == problem
