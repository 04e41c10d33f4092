"""Whether a chain holds: path, time, constraints, key usage, algorithms."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from hsm_dicom.trust import (
    ARCHIVE,
    Caution,
    CertificatePurpose,
    CertificateValidator,
    Policy,
    Reason,
    Trust,
    TrustStore,
    TrustVerdict,
)
from tests.pki import DAY, NOW, YEAR, Authority, Identity, new_key

ROOT = Authority("Root CA")
MIDDLE = ROOT.authority("Middle CA")
SIGNER = MIDDLE.issue("Signer")


def validate(
    identity: Identity,
    purpose: CertificatePurpose = CertificatePurpose.SIGNING,
    *,
    policy: Policy | None = None,
    **wishes: object,
) -> TrustVerdict:
    """Judge under the root, with the middle CA sent along unless the test says otherwise."""
    anchors = wishes.pop("anchors", [ROOT.certificate])
    wishes.setdefault("intermediates", [MIDDLE.certificate])
    return CertificateValidator(TrustStore(anchors), policy).validate(identity.certificate, purpose, **wishes)  # type: ignore[arg-type]


def openssl_certificate(folder: Path, ca: Authority, hash_option: str) -> Identity:
    """A certificate with a hash that `cryptography` no longer signs with."""
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "ca.key").write_bytes(ca.key_pem)
    (folder / "signer.key").write_bytes(SIGNER.key_pem)
    for command in (
        "req -new -key signer.key -subj /CN=Signer -out signer.csr",
        f"x509 -req -in signer.csr -CA ca.pem -CAkey ca.key -days 30 {hash_option} -out signer.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True, timeout=20)
    return Identity(x509.load_pem_x509_certificate((folder / "signer.pem").read_bytes()), SIGNER.key)


def test_a_chain_over_an_intermediate_is_trusted_and_told() -> None:
    verdict = validate(SIGNER)
    assert (verdict.trust, verdict.reason) == (Trust.TRUSTED, Reason.TRUSTED)
    assert [c.subject for c in verdict.path] == ["CN=Signer", "CN=Middle CA", "CN=Root CA"]
    assert [c.is_anchor for c in verdict.path] == [False, False, True]
    assert verdict.path[0].serial == SIGNER.serial
    assert verdict.path[0].key == "EC secp256r1"


def test_without_revocation_data_the_verdict_says_that_nothing_was_looked_at() -> None:
    verdict = validate(SIGNER)
    assert {w.caution for w in verdict.warnings} == {Caution.REVOCATION_NOT_CHECKED}
    assert "no CRL or OCSP response" in verdict.text


def test_a_missing_intermediate_is_named() -> None:
    verdict = validate(SIGNER, intermediates=[])
    assert (verdict.trust, verdict.reason) == (Trust.INDETERMINATE, Reason.NO_PATH)
    assert "CN=Middle CA" in verdict.text


def test_another_ca_is_refused_by_name() -> None:
    stranger = Authority("Other CA")
    verdict = validate(stranger.issue("Signer"), intermediates=[stranger.certificate])
    assert (verdict.trust, verdict.reason) == (Trust.UNTRUSTED, Reason.NO_PATH)
    assert "CN=Other CA" in verdict.text
    assert "self-signed" in verdict.text


def test_another_ca_of_the_same_name_is_refused() -> None:
    impostor = Authority("Root CA", extensions=[])
    forged = impostor.issue("Signer")
    verdict = validate(forged)
    assert verdict.trust is Trust.UNTRUSTED


def test_an_altered_certificate_is_refused() -> None:
    der = bytearray(SIGNER.der)
    der[-5] ^= 1
    verdict = CertificateValidator(TrustStore([ROOT.certificate])).validate(
        bytes(der), CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]
    )
    assert verdict.reason is Reason.BAD_SIGNATURE


def test_without_anchors_nothing_is_determined() -> None:
    verdict = validate(SIGNER, anchors=[])
    assert (verdict.trust, verdict.reason) == (Trust.INDETERMINATE, Reason.NO_ANCHORS)


def test_an_expired_certificate_is_refused_today_and_trusted_in_its_time() -> None:
    old = MIDDLE.issue("Signer", begins=NOW - YEAR, ends=NOW - DAY)
    assert validate(old).reason is Reason.EXPIRED
    assert validate(old, validation_time=NOW - 2 * DAY).trusted


def test_a_certificate_is_not_trusted_before_it_begins() -> None:
    young = MIDDLE.issue("Signer", begins=NOW + DAY)
    assert validate(young).reason is Reason.NOT_YET_VALID
    assert validate(young, validation_time=NOW + 2 * DAY).trusted


def test_the_first_and_the_last_second_count_as_valid() -> None:
    short = MIDDLE.issue("Signer", begins=NOW - DAY, ends=NOW)
    assert validate(short, validation_time=NOW - DAY).trusted
    assert validate(short, validation_time=NOW).trusted
    assert validate(short, validation_time=NOW + timedelta(microseconds=1)).reason is Reason.EXPIRED
    assert validate(short, validation_time=NOW - DAY - timedelta(microseconds=1)).reason is Reason.NOT_YET_VALID


def test_an_expired_anchor_anchors_nothing() -> None:
    root = Authority("Root CA", ends=NOW - DAY)
    verdict = validate(root.issue("Signer"), anchors=[root.certificate])
    assert verdict.reason is Reason.EXPIRED
    assert "CN=Root CA" in verdict.text


def test_a_certificate_that_is_no_ca_issues_nothing() -> None:
    person = Authority("Person", issuer=MIDDLE, ca=False, usages=("digital_signature",))
    verdict = validate(person.issue("Forged"), intermediates=[MIDDLE.certificate, person.certificate])
    assert verdict.reason is Reason.NOT_A_CA
    assert "CN=Person" in verdict.text


def test_a_ca_whose_key_may_not_sign_certificates_issues_nothing() -> None:
    ca = ROOT.authority("CRL only CA", usages=("crl_sign",))
    assert validate(ca.issue("Signer"), intermediates=[ca.certificate]).reason is Reason.NOT_A_CA


def test_a_pinned_device_certificate_cannot_issue() -> None:
    device = Authority("Device", ca=False, usages=("digital_signature",))
    verdict = validate(device.issue("Other device"), anchors=[device.certificate])
    assert verdict.reason is Reason.NOT_A_CA


def test_a_path_longer_than_a_ca_allows_is_refused() -> None:
    first = ROOT.authority("First CA", path_length=0)
    second = first.authority("Second CA")
    verdict = validate(second.issue("Signer"), intermediates=[second.certificate, first.certificate])
    assert verdict.reason is Reason.PATH_TOO_LONG
    assert "CN=First CA allows 0" in verdict.text


def test_the_path_length_of_the_anchor_itself_holds() -> None:
    root = Authority("Root CA", path_length=0)
    middle = root.authority("Middle CA")
    verdict = validate(middle.issue("Signer"), anchors=[root.certificate], intermediates=[middle.certificate])
    assert verdict.reason is Reason.PATH_TOO_LONG


@pytest.mark.parametrize("constrained", ["anchor", "intermediate"])
def test_name_constraints_hold(constrained: str) -> None:
    extensions = [(x509.NameConstraints([x509.DNSName("hospital.example")], None), True)]
    if constrained == "anchor":
        ca = anchor = Authority("Named CA", extensions=extensions)
    else:
        ca, anchor = ROOT.authority("Named CA", extensions=extensions), ROOT

    def verdict(host: str) -> TrustVerdict:
        alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
        server = ca.issue("Server", extensions=[(alternative, False)])
        sent = [] if ca is anchor else [ca.certificate]
        return validate(server, CertificatePurpose.TLS_SERVER, anchors=[anchor.certificate], intermediates=sent)

    assert verdict("pacs.hospital.example").trusted
    refused = verdict("pacs.elsewhere.example")
    assert refused.reason is Reason.PATH_INVALID
    assert "pacs.elsewhere.example" in refused.text


def test_an_unknown_critical_extension_is_refused_by_number() -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    verdict = validate(MIDDLE.issue("Signer", extensions=[(odd, True)]))
    assert verdict.reason is Reason.UNKNOWN_CRITICAL_EXTENSION
    assert "1.3.6.1.4.1.99999.1" in verdict.text
    assert validate(MIDDLE.issue("Signer", extensions=[(odd, False)])).trusted


def test_a_self_signed_certificate_is_trusted_only_where_it_is_listed() -> None:
    alone = Authority("Device", ca=False, usages=("digital_signature",))
    verdict = validate(alone, anchors=[alone.certificate])
    assert verdict.trusted
    assert Caution.SELF_SIGNED in {w.caution for w in verdict.warnings}
    assert validate(alone).reason is Reason.NO_PATH
    twin = Authority("Device", ca=False, usages=("digital_signature",), key=alone.key)
    assert not validate(twin, anchors=[alone.certificate]).trusted


def test_an_intermediate_may_be_the_anchor() -> None:
    verdict = validate(SIGNER, anchors=[MIDDLE.certificate], intermediates=[])
    assert verdict.trusted
    assert [c.subject for c in verdict.path] == ["CN=Signer", "CN=Middle CA"]


def test_a_second_path_is_taken_where_the_first_one_fails() -> None:
    old_root = Authority("Root CA", ends=NOW - DAY)
    key = new_key()
    old_middle = old_root.authority("Crossed CA", key=key)
    new_middle = ROOT.authority("Crossed CA", key=key)
    verdict = validate(
        old_middle.issue("Signer"),
        anchors=[old_root.certificate, ROOT.certificate],
        intermediates=[old_middle.certificate, new_middle.certificate],
    )
    assert verdict.trusted


@pytest.mark.interop
def test_a_sha1_chain_is_refused_now_and_a_warning_for_an_archive(tmp_path: Path) -> None:
    weak = openssl_certificate(tmp_path, MIDDLE, "-sha1")
    verdict = validate(weak, anchors=[ROOT.certificate])
    assert verdict.reason is Reason.WEAK_HASH
    assert "sha1" in verdict.text
    archived = validate(weak, anchors=[ROOT.certificate], policy=Policy(algorithms=ARCHIVE))
    assert archived.trusted
    assert Caution.WEAK_HASH in {w.caution for w in archived.warnings}


@pytest.mark.interop
def test_an_md5_chain_is_refused_even_for_an_archive(tmp_path: Path) -> None:
    old = Authority("Old CA", key=new_key("rsa2048"))
    weak = openssl_certificate(tmp_path, old, "-md5")
    assert validate(weak, anchors=[old.certificate], policy=Policy(algorithms=ARCHIVE)).reason is Reason.WEAK_HASH


def test_a_short_key_is_refused_now_and_a_warning_for_an_archive() -> None:
    short = MIDDLE.issue("Signer", key=new_key("rsa1024"))
    verdict = validate(short)
    assert verdict.reason is Reason.WEAK_KEY
    assert "RSA 1024" in verdict.text
    archived = validate(short, policy=Policy(algorithms=ARCHIVE))
    assert archived.trusted
    assert Caution.SHORT_KEY in {w.caution for w in archived.warnings}


def test_a_curve_outside_the_policy_is_refused() -> None:
    assert validate(MIDDLE.issue("Signer", key=new_key("secp224r1"))).reason is Reason.WEAK_KEY
