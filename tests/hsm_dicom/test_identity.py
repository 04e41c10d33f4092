"""Identities: a key and a certificate that belong together, or an error that says which does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from hsm_dicom.config import Configuration, load_configuration
from hsm_dicom.config.devices import NotConfiguredError
from hsm_dicom.identity import IdentityError, find_expiry_remark, load_identity, locate_key, open_identity
from hsm_dicom.identity.errors import CertificateExpiredError, CertificateFileError, CertificateMismatchError
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import NOW, Authority
from tests.softhsm import TestToken
from tokens.errors import KeyPolicyError, NoSuchKeyError
from tokens.keys import TokenRSAPrivateKey


@dataclass
class Place:
    folder: Path
    token: TestToken
    ca: Authority = field(default_factory=Authority)

    def write(self, identities: str) -> Configuration:
        file = self.folder / "hsm-dicom.toml"
        file.write_text(configuration_text(self.token) + identities)
        return load_configuration(file)


@pytest.fixture
def place(tmp_path: Path, token: TestToken) -> Place:
    token.generate("node")
    return Place(tmp_path, token)


ON_TOKEN = '[identities.node]\ntoken = "test"\nobject = "node"\n'


def test_key_and_certificate_of_a_token_make_an_identity(place: Place) -> None:
    certificate = certify(place.token, "node", place.ca)
    with load_identity("node", place.write(ON_TOKEN)) as identity:
        assert identity.certificate == certificate
        assert isinstance(identity.key, TokenRSAPrivateKey)
        signature = identity.key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())
        certificate.public_key().verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())


def test_of_two_certificates_on_a_token_the_one_valid_longest_is_taken(place: Place) -> None:
    certify(place.token, "node", place.ca, ends=NOW + timedelta(days=10))
    renewed = certify(place.token, "node", place.ca, ends=NOW + timedelta(days=500))
    certify(place.token, "node", place.ca, ends=NOW + timedelta(days=20))
    with load_identity("node", place.write(ON_TOKEN)) as identity:
        assert identity.certificate == renewed


def test_a_certificate_imported_early_is_not_taken_before_its_time(place: Place) -> None:
    current = certify(place.token, "node", place.ca, ends=NOW + timedelta(days=10))
    certify(place.token, "node", place.ca, begins=NOW + timedelta(days=7), ends=NOW + timedelta(days=500))
    with load_identity("node", place.write(ON_TOKEN)) as identity:
        assert identity.certificate == current
        identity.require_current()


def test_the_same_holds_for_a_file_with_both(place: Place) -> None:
    wishes = [
        {"begins": NOW + timedelta(days=7), "ends": NOW + timedelta(days=500)},
        {"ends": NOW + timedelta(days=10)},
    ]
    early, current = (certify(place.token, "node", place.ca, store=False, **each) for each in wishes)
    (place.folder / "node.pem").write_bytes(_pem(early) + _pem(current))
    with load_identity("node", place.write(ON_TOKEN + 'certificate = "node.pem"\n')) as identity:
        assert identity.certificate == current


def test_with_none_valid_the_one_that_comes_next_is_named(place: Place) -> None:
    certify(place.token, "node", place.ca, ends=NOW - timedelta(days=1))
    for days in (9, 7):
        certify(place.token, "node", place.ca, begins=NOW + timedelta(days=days), ends=NOW + timedelta(days=500))
    with load_identity("node", place.write(ON_TOKEN)) as identity:
        assert (identity.certificate.not_valid_before_utc - NOW).days in (6, 7)
        with pytest.raises(
            CertificateExpiredError,
            match=r"not valid before .* Use a certificate that is valid now",
        ):
            identity.require_current()


def test_with_none_to_come_the_one_that_expired_last_is_named(place: Place) -> None:
    for days in (300, 30, 100):
        certify(place.token, "node", place.ca, ends=NOW - timedelta(days=days))
    with load_identity("node", place.write(ON_TOKEN)) as identity:
        with pytest.raises(CertificateExpiredError, match=r"expired on .* Have a new certificate issued"):
            identity.require_current()
        assert (NOW - identity.certificate.not_valid_after_utc).days in (29, 30)


def test_a_certificate_file_may_hold_the_chain_as_well(place: Place) -> None:
    certificate = certify(place.token, "node", place.ca, store=False)
    (place.folder / "node.pem").write_bytes(_pem(certificate) + place.ca.pem)
    with load_identity("node", place.write(ON_TOKEN + 'certificate = "node.pem"\n')) as identity:
        assert (identity.certificate, identity.chain) == (certificate, (place.ca.certificate,))


def test_a_certificate_of_another_key_is_refused_and_both_are_named(place: Place) -> None:
    (place.folder / "other.pem").write_bytes(place.ca.issue("Somebody else").pem)
    with pytest.raises(CertificateMismatchError, match=r"'CN=Somebody else'.*identity 'node'"):
        load_identity("node", place.write(ON_TOKEN + 'certificate = "other.pem"\n'))


def test_a_key_without_certificate_says_how_to_store_one(place: Place) -> None:
    with pytest.raises(IdentityError, match="Store the certificate on the token, or give it as a file"):
        load_identity("node", place.write(ON_TOKEN))


def test_a_key_that_is_not_there_is_the_tokens_error(place: Place) -> None:
    with pytest.raises(NoSuchKeyError, match="'node'"):
        load_identity("x", place.write('[identities.x]\ntoken = "test"\nobject = "x"\n'))


def test_a_failed_identity_lets_go_of_the_token(place: Place) -> None:
    from tokens import default_manager

    with pytest.raises(IdentityError):
        load_identity("node", place.write(ON_TOKEN))
    assert place.token.serial not in {known[1] for known in default_manager().tokens._connections}


def test_a_key_file_is_served_only_where_it_is_allowed_explicitly(place: Place) -> None:
    signer = place.ca.issue("Signer")
    (place.folder / "signer.pem").write_bytes(signer.pem)
    (place.folder / "key.pem").write_bytes(signer.key_pem)
    (place.folder / "key.pem").chmod(0o600)
    text = '[identities.file]\nkey = "file:key.pem"\ncertificate = "signer.pem"\nallow = ["file-key"]\n'
    with load_identity("file", place.write(text)) as identity:
        assert identity.subject == "CN=Signer"


def test_a_key_file_that_others_may_read_is_refused(place: Place) -> None:
    signer = place.ca.issue("Signer")
    (place.folder / "signer.pem").write_bytes(signer.pem)
    (place.folder / "key.pem").write_bytes(signer.key_pem)
    (place.folder / "key.pem").chmod(0o640)
    text = '[identities.file]\nkey = "file:key.pem"\ncertificate = "signer.pem"\nallow = ["file-key"]\n'
    with pytest.raises(CertificateFileError, match="may be read by others"):
        load_identity("file", place.write(text))


def test_a_weak_key_needs_to_be_explicitly_allowed(place: Place) -> None:
    import_private_key(place.token, "imported")
    certificate = certify(place.token, "imported", place.ca, store=False, anything=True)
    (place.folder / "c.pem").write_bytes(_pem(certificate))
    text = '[identities.weak]\ntoken = "test"\nobject = "imported"\ncertificate = "c.pem"\n'
    with pytest.raises(KeyPolicyError, match=r'allow = \["extractable"'):
        load_identity("weak", place.write(text))
    allowed = place.write(text + 'allow = ["extractable", "not-sensitive"]\n')
    with load_identity("weak", allowed) as identity:
        assert {finding.weakness for finding in identity.findings} >= {"extractable", "imported"}


def test_a_file_without_certificate_is_named(place: Place) -> None:
    (place.folder / "c.pem").write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(CertificateFileError, match=r"c\.pem holds no certificate"):
        load_identity("node", place.write(ON_TOKEN + 'certificate = "c.pem"\n'))


def test_a_key_is_named_by_an_identity_or_by_a_uri(place: Place) -> None:
    certify(place.token, "node", place.ca)
    configuration = place.write(ON_TOKEN)
    for wanted in ("node", f"pkcs11:serial={place.token.serial};object=node"):
        access, _ = locate_key(configuration, wanted)
        with open_identity(access) as identity:
            assert identity.subject == "CN=Signer node"


def test_an_unknown_identity_says_which_are_known(place: Place) -> None:
    with pytest.raises(NotConfiguredError, match="there: node") as caught:
        load_identity("nod", place.write(ON_TOKEN))
    assert caught.value.remedy == "Give the name of one of these, or add the table [identities.nod] to the file."


@pytest.mark.parametrize(
    ("begins", "ends", "words", "expired"),
    [
        (-10, 12, "expires in 12 days", False),
        (-10, 0.5, "expires in 12 hours", False),
        (-10, -1, "expired on", True),
        (1, 10, "is not valid before", True),
    ],
)
def test_what_the_dates_of_a_certificate_give_reason_to_say(
    begins: float, ends: float, words: str, expired: bool
) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    certificate = (
        Authority().issue("x", begins=now + timedelta(days=begins), ends=now + timedelta(days=ends)).certificate
    )
    remark = find_expiry_remark(certificate, now)
    assert remark is not None
    assert words in remark.text
    assert remark.expired is expired


def test_nothing_is_said_of_a_certificate_with_time_left() -> None:
    assert find_expiry_remark(Authority().issue("x").certificate) is None


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def import_private_key(token: TestToken, label: str) -> None:
    """Put a key made on the host into a token, as migration tools do: sensitive to nobody."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from pkcs11 import Attribute, ObjectClass
    from pkcs11.util.rsa import decode_rsa_private_key

    from tests.pki import new_key
    from tokens import open_token

    der = new_key("rsa2048").private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    template = decode_rsa_private_key(der) | {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.TOKEN: True,
        Attribute.LABEL: label,
        Attribute.ID: label.encode(),
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
        Attribute.SIGN: True,
    }
    with open_token(token.uri()) as connection, connection.writable() as session:
        connection.objects(session).create(template)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_chain_may_be_a_p7b_file_in_any_order(place: Place, encoding: Encoding) -> None:
    middle = place.ca.authority("Middle CA")
    issuing = middle.authority("Issuing CA")
    own = certify(place.token, "node", issuing)
    upwards = [issuing.certificate, middle.certificate, place.ca.certificate]
    (place.folder / "chain.p7b").write_bytes(serialize_certificates([*reversed(upwards), own], encoding))
    with load_identity("node", place.write(f'{ON_TOKEN}chain = "chain.p7b"\n')) as identity:
        assert list(identity.chain) == upwards


def test_a_certificate_file_may_hold_its_chain_first(place: Place) -> None:
    issuing = place.ca.authority("Issuing CA")
    own = certify(place.token, "node", issuing, store=False)
    bundle = place.ca.pem + issuing.pem + own.public_bytes(Encoding.PEM)
    (place.folder / "node.pem").write_bytes(bundle)
    with load_identity("node", place.write(f'{ON_TOKEN}certificate = "node.pem"\n')) as identity:
        assert identity.certificate == own
        assert list(identity.chain) == [issuing.certificate, place.ca.certificate]
