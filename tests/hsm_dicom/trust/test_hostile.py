"""Certificates made to hurt: a verdict within bounded time, never an exception, never a false "trusted"."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from asn1crypto import core  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_dicom.trust import (
    CertificatePurpose,
    CertificateValidator,
    Policy,
    Reason,
    Sourced,
    Trust,
    TrustFileError,
    TrustStore,
)
from tests.pki import NOW, YEAR, Authority, Identity, name, new_key

ROOT = Authority("Root CA")
MIDDLE = ROOT.authority("Middle CA")
SIGNER = MIDDLE.issue(
    "Signer",
    extensions=[
        (x509.SubjectAlternativeName([x509.DNSName("node.example"), x509.DirectoryName(name("x"))]), False),
        (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]), False),
    ],
)
VERIFIER = CertificateValidator(TrustStore([ROOT.certificate]))
CHANGES = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), min_size=1, max_size=3)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def changed(der: bytes, changes: list[tuple[int, int]]) -> bytes:
    altered = bytearray(der)
    for position, mask in changes:
        altered[position % len(der)] ^= mask
    return bytes(altered)


@settings(max_examples=300, deadline=2000, derandomize=True)
@given(CHANGES)
def test_a_changed_certificate_is_never_trusted(changes: list[tuple[int, int]]) -> None:
    altered = changed(SIGNER.der, changes)
    verdict = VERIFIER.validate(altered, CertificatePurpose.SIGNING, intermediates=[MIDDLE.der])
    assert altered == SIGNER.der or not verdict.trusted
    assert verdict.reason is not Reason.CANNOT_BE_EXAMINED


def test_unused_bits_in_a_signature_are_malformed() -> None:
    """A signature whose last bit is 0 could be said to end one bit earlier, without a parser noticing."""
    even = next(c for _ in range(64) if not (c := MIDDLE.issue("Signer").certificate).signature[-1] & 1)
    der = bytearray(even.public_bytes(Encoding.DER))
    der[-len(even.signature) - 1] = 1
    assert (
        VERIFIER.validate(bytes(der), CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]).reason is Reason.MALFORMED
    )


@settings(max_examples=200, deadline=2000, derandomize=True)
@given(CHANGES)
def test_a_changed_intermediate_is_never_trusted(changes: list[tuple[int, int]]) -> None:
    altered = changed(MIDDLE.der, changes)
    verdict = VERIFIER.validate(SIGNER.der, CertificatePurpose.SIGNING, intermediates=[altered])
    assert altered == MIDDLE.der or not verdict.trusted
    assert verdict.reason is not Reason.CANNOT_BE_EXAMINED


def signed_anew(changes: list[tuple[int, int]]) -> bytes:
    """The signer's certificate, changed before its CA signed it: what a careless CA lets through."""
    whole = asn1.Certificate.load(SIGNER.der)
    content = changed(whole["tbs_certificate"].dump(), changes)
    signature = MIDDLE.key.sign(content, ec.ECDSA(hashes.SHA256()))
    outer = core.Sequence()
    outer.contents = content + whole["signature_algorithm"].dump() + core.OctetBitString(signature).dump()
    return bytes(outer.dump())


@settings(max_examples=300, deadline=2000, derandomize=True)
@given(CHANGES, st.sampled_from(list(CertificatePurpose)))
def test_whatever_a_ca_signs_has_a_verdict(changes: list[tuple[int, int]], purpose: CertificatePurpose) -> None:
    verdict = VERIFIER.validate(signed_anew(changes), purpose, intermediates=[MIDDLE.der])
    assert verdict.reason is not Reason.CANNOT_BE_EXAMINED


def test_what_a_ca_signs_later_is_trusted_again() -> None:
    assert VERIFIER.validate(signed_anew([]), CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]).trusted


@settings(max_examples=200, deadline=2000, derandomize=True)
@given(CHANGES, st.booleans())
def test_changed_revocation_data_never_makes_good(changes: list[tuple[int, int]], as_crl: bool) -> None:
    good = ROOT.crl() if as_crl else ROOT.ocsp(MIDDLE)
    altered = changed(good, changes)
    part = Sourced(altered, "altered")
    try:
        store = TrustStore([ROOT.certificate], crls=[part] if as_crl else [], ocsp_responses=[] if as_crl else [part])
    except TrustFileError:
        return
    verdict = CertificateValidator(store).validate(
        MIDDLE.issue("Signer").der, CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]
    )
    assert altered == good or not verdict.trusted
    assert verdict.reason is not Reason.CANNOT_BE_EXAMINED


@settings(max_examples=200, deadline=2000, derandomize=True)
@given(st.binary(max_size=400))
def test_garbage_is_malformed(garbage: bytes) -> None:
    assert VERIFIER.validate(garbage, CertificatePurpose.SIGNING, intermediates=[garbage]).reason is Reason.MALFORMED


def test_one_pad_byte_is_dicom_and_more_is_malformed() -> None:
    assert VERIFIER.validate(SIGNER.der + b"\0", CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]).trusted
    for trailing in (b"\0\0", b"x", SIGNER.der):
        verdict = VERIFIER.validate(SIGNER.der + trailing, CertificatePurpose.SIGNING, intermediates=[MIDDLE.der])
        assert verdict.reason is Reason.MALFORMED


def test_a_certificate_larger_than_the_policy_allows_is_not_looked_at() -> None:
    ballast = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.9"), bytes(70_000))
    verdict = VERIFIER.validate(MIDDLE.issue("Big", extensions=[(ballast, False)]).der, CertificatePurpose.SIGNING)
    assert verdict.reason is Reason.MALFORMED
    assert "too big" in verdict.text


def test_cas_that_vouch_for_each_other_lead_nowhere_quickly() -> None:
    keys = [new_key() for _ in range(6)]
    circle: list[x509.Certificate] = []
    names = [f"Circle {n}" for n in range(6)]
    selves = [Authority(n, key=k) for n, k in zip(names, keys, strict=True)]
    for issuer in selves:
        circle += [
            issuer.authority(n, key=k).certificate
            for n, k in zip(names, keys, strict=True)
            if n != issuer.certificate.subject.rdns[0].rfc4514_string()[3:]
        ]
    with within(1):
        verdict = VERIFIER.validate(
            selves[0].issue("Signer").certificate, CertificatePurpose.SIGNING, intermediates=circle
        )
    assert verdict.trust is Trust.UNTRUSTED
    assert verdict.reason in (Reason.TOO_COMPLEX, Reason.NO_PATH)


def test_many_certificates_of_one_name_lead_nowhere_quickly() -> None:
    key = new_key()
    sent = [Authority("Same", key=key, issuer=Authority("Same", key=key)).certificate for _ in range(32)]
    sent += [Authority("Root CA").authority("Same", key=key).certificate for _ in range(32)]
    signer = Authority("Same", key=key).issue("Signer").certificate
    validator = CertificateValidator(TrustStore([ROOT.certificate]), Policy(max_intermediates=64))
    with within(2):
        assert not validator.validate(signer, CertificatePurpose.SIGNING, intermediates=sent).trusted


def test_thousands_of_names_and_constraints_are_too_complex() -> None:
    permitted = [x509.DNSName(f"{n}.example") for n in range(1500)]
    middle = ROOT.authority("Bomb CA", extensions=[(x509.NameConstraints(permitted, None), True)])
    names = x509.SubjectAlternativeName([x509.DNSName(f"a.{n}.example") for n in range(1500)])
    signer = middle.issue("Signer", extensions=[(names, False)])
    with within(2):
        verdict = VERIFIER.validate(signer.certificate, CertificatePurpose.SIGNING, intermediates=[middle.certificate])
    assert verdict.reason is Reason.TOO_COMPLEX


def test_thousands_of_policies_end_in_time() -> None:
    def policies(count: int) -> x509.CertificatePolicies:
        oids = [x509.ObjectIdentifier(f"1.2.3.{n}") for n in range(count)]
        return x509.CertificatePolicies([x509.PolicyInformation(oid, None) for oid in oids])

    first = ROOT.authority("First CA", extensions=[(policies(2000), False)])
    second = first.authority("Second CA", extensions=[(policies(2000), False)])
    signer = second.issue("Signer", extensions=[(policies(2000), False)])
    with within(2):
        verdict = VERIFIER.validate(
            signer.certificate, CertificatePurpose.SIGNING, intermediates=[first.certificate, second.certificate]
        )
    assert not verdict.trusted


@pytest.mark.parametrize("bits", [4096, 32768])
def test_an_enormous_key_costs_no_time(bits: int) -> None:
    number = rsa.RSAPublicNumbers(65537, (1 << bits) - 159)

    class Enormous:
        def public_key(self) -> rsa.RSAPublicKey:
            return number.public_key()

    with within(2):
        verdict = VERIFIER.validate(
            MIDDLE.issue("Signer", key=Enormous()).der, CertificatePurpose.SIGNING, intermediates=[MIDDLE.der]
        )
    assert verdict.trusted is (bits == 4096)


def test_a_name_cannot_play_tricks_on_a_terminal() -> None:
    trickster = Authority("Root\x1b[2K\r\n\u202eCA")
    verdict = VERIFIER.validate(trickster.certificate, CertificatePurpose.SIGNING)
    assert verdict.text.isprintable()
    assert verdict.path[0].subject.isprintable()


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_the_ends_of_time_have_a_verdict(moment: datetime) -> None:
    verdict = VERIFIER.validate(
        SIGNER.certificate, CertificatePurpose.SIGNING, validation_time=moment, intermediates=[MIDDLE.der]
    )
    assert verdict.reason in (Reason.EXPIRED, Reason.NOT_YET_VALID)


def test_absurd_dates_in_a_certificate_have_a_verdict() -> None:
    forever = MIDDLE.issue(
        "Signer", begins=datetime(1950, 1, 1, tzinfo=UTC), ends=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    )
    backwards = MIDDLE.issue("Signer", begins=NOW, ends=NOW)
    for identity, moment, expected in (
        (forever, NOW, Reason.TRUSTED),
        (forever, datetime.max.replace(tzinfo=UTC), Reason.EXPIRED),
        (backwards, NOW + YEAR, Reason.EXPIRED),
    ):
        verdict = judge_at(identity, moment)
        assert verdict is expected


def judge_at(identity: Identity, moment: datetime) -> Reason:
    eternal = CertificateValidator(TrustStore([MIDDLE.certificate]))
    verdict = eternal.validate(identity.certificate, CertificatePurpose.SIGNING, validation_time=moment)
    return verdict.reason
