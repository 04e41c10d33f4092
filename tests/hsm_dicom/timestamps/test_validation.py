"""Certified time stamps: tokens of openssl and certomancer verified, every part of a token that can lie found
out."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import algos, cms, keys, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1
from certomancer.services import TimeStamper
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_dicom.timestamps.protocol import (
    TimestampError,
    TimestampRequest,
    extract_token,
    make_request,
    read_request,
)
from hsm_dicom.timestamps.validation import TimestampFinding, TimestampVerdict, verify_token
from hsm_dicom.trust import ARCHIVE, CertificateValidator, Policy, Reason, Sourced, TrustStore
from tests.pki import DAY, NOW, Authority, Identity, Revoked, new_key
from tests.pki.openssl_tsa import OpensslTsa

pytestmark = pytest.mark.interop

SIGNATURE = hashlib.sha512(b"the value of a signature").digest() * 4
STAMPING: dict[str, Any] = {
    "extended": ["1.3.6.1.5.5.7.3.8"],
    "extended_critical": True,
    "usages": ("digital_signature",),
}

CA = Authority("Time CA", key=new_key("rsa2048", 1))
STAMPER = CA.issue("Time stamper", key=new_key("rsa2048", 2), **STAMPING)
VERIFIER = CertificateValidator(TrustStore([CA.certificate]))


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> OpensslTsa:
    return OpensslTsa(tmp_path_factory.mktemp("tsa"), CA, STAMPER)


@pytest.fixture(scope="module")
def token(tsa: OpensslTsa) -> bytes:
    return stamped(tsa)


def stamped(tsa: OpensslTsa, request: TimestampRequest | None = None) -> bytes:
    request = request or make_request(SIGNATURE)
    return extract_token(tsa.reply(request.der), request)


def verify(token: bytes, validator: CertificateValidator = VERIFIER, **wishes: Any) -> TimestampVerdict:
    return verify_token(token, SIGNATURE, validator, **wishes)


def stamped_by(folder: Path, signer: Identity, **wishes: Any) -> TimestampVerdict:
    return verify(stamped(OpensslTsa(folder / "tsa", CA, signer)), **wishes)


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
def test_a_token_of_openssl_with_leaf_and_ca_is_valid(tsa: OpensslTsa, hash_name: str) -> None:
    token = stamped(tsa, make_request(SIGNATURE, hash_name))
    verdict = verify(token)
    assert verdict.finding is TimestampFinding.VALID, verdict.text
    assert verdict.time is not None
    assert abs(verdict.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert verdict.hash_name == hash_name
    assert verdict.authority == "CN=Time stamper"
    assert verdict.policy == "1.3.6.1.4.1.99999.1"
    assert verdict.accuracy == timedelta(seconds=1.5)
    assert tsa.accepts(token, SIGNATURE)


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_the_certificate_may_be_named_by_any_hash(tmp_path: Path, hash_name: str) -> None:
    assert verify(stamped(OpensslTsa(tmp_path / "tsa", CA, STAMPER, hash_name))).valid


def test_an_ec_time_stamper_is_understood(tmp_path: Path) -> None:
    assert stamped_by(tmp_path, CA.issue("EC stamper", **STAMPING)).valid


def test_one_pad_byte_is_tolerated_and_no_more(token: bytes) -> None:
    assert verify(token + b"\0").valid
    for trailing in (b"\0\0", b"\1"):
        verdict = verify(token + trailing)
        assert verdict.finding is TimestampFinding.INVALID
        assert "follow where it ends" in verdict.text


def test_certificates_may_stand_in_any_order(token: bytes) -> None:
    outer = cms.ContentInfo.load(token)
    found = [c.dump() for c in outer["content"]["certificates"]]
    assert len(found) == 2
    at = token.index(found[0] + found[1])
    swapped = token[:at] + found[1] + found[0] + token[at + len(found[0] + found[1]) :]
    assert verify(swapped).valid


def test_a_token_without_certificates_needs_the_signer_from_elsewhere(tsa: OpensslTsa) -> None:
    token = stamped(tsa, make_request(SIGNATURE, wants_certificate=False))
    verdict = verify(token)
    assert verdict.finding is TimestampFinding.INDETERMINATE
    assert "give it as an intermediate" in verdict.text
    assert verify(token, certificates=[STAMPER.certificate]).valid


def test_a_token_over_something_else_is_invalid(token: bytes) -> None:
    verdict = verify_token(token, SIGNATURE + b"!", VERIFIER)
    assert verdict.finding is TimestampFinding.INVALID
    assert not verdict.imprint_matches
    assert "something else" in verdict.text


def test_an_authority_that_nobody_trusts_is_untrusted(token: bytes) -> None:
    verdict = verify(token, CertificateValidator(TrustStore([Authority("Other CA").certificate])))
    assert verdict.finding is TimestampFinding.UNTRUSTED
    assert verdict.trust is not None
    assert verdict.trust.reason is Reason.NO_PATH


def test_an_authority_whose_revocation_is_not_known_is_indeterminate(token: bytes) -> None:
    stale = Sourced(CA.crl(issued=NOW - 10 * DAY, until=NOW - 9 * DAY), "an old list")
    verdict = verify(token, CertificateValidator(TrustStore([CA.certificate], crls=[stale])))
    assert verdict.finding is TimestampFinding.INDETERMINATE


def test_a_compromised_authority_is_untrusted_although_revoked_later(token: bytes) -> None:
    later = datetime.now(UTC) + DAY
    for reason, expected in (
        (x509.ReasonFlags.key_compromise, TimestampFinding.UNTRUSTED),
        (x509.ReasonFlags.superseded, TimestampFinding.VALID),
    ):
        crl = CA.crl([Revoked(STAMPER, later, reason)], issued=later, until=later + DAY)
        validator = CertificateValidator(TrustStore([CA.certificate], crls=[Sourced(crl, "a list")]))
        assert verify(token, validator).finding is expected


def test_a_token_outlives_the_certificate_of_its_authority(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    short = CA.issue("Short stamper", key=new_key("rsa2048", 3), ends=ends, **STAMPING)
    verdict = stamped_by(tmp_path, short)
    assert verdict.valid
    assert verdict.trust is not None
    assert verdict.trust.validation_time == verdict.time


def test_a_weak_hash_is_refused_now_and_a_warning_for_an_archive(tsa: OpensslTsa) -> None:
    request = TimestampRequest("sha1", hashlib.sha1(SIGNATURE).digest())
    token = extract_token(tsa.reply(request.der), request)
    assert "sha1" in verify(token).text
    assert verify(token).finding is TimestampFinding.INVALID
    archived = verify(token, CertificateValidator(TrustStore([CA.certificate]), Policy(algorithms=ARCHIVE)))
    assert archived.valid
    assert "weak" in archived.text


@pytest.mark.parametrize(
    ("weak", "role"),
    [({"md_algorithm": "sha1"}, "of its content"), ({"signature_algo": "sha1_rsa"}, "under its signature")],
)
def test_a_weak_hash_within_the_signature_is_refused(weak: dict[str, Any], role: str) -> None:
    assert f"The hash {role} is sha1" in verify(token_by(STAMPER, **weak)).text


class TestForgedTokens:
    """Each forgery is made from a good token by changing one thing; where it changes what is signed, the
    forger signs anew with a key of its own."""

    def forged(self, token: bytes, change: Any) -> TimestampVerdict:
        outer = cms.ContentInfo.load(token).copy()
        change(outer["content"])
        return verify(outer.dump(force=True))

    def test_another_time_does_not_verify(self, token: bytes) -> None:
        year = token.index(b"\x18\x0f") + 2
        earlier = token[:year] + b"1999" + token[year + 4 :]
        verdict = verify(earlier)
        assert verdict.finding is TimestampFinding.INVALID
        assert "Its content is not what its signer signed" in verdict.text

    def test_an_altered_signature_does_not_verify(self, token: bytes) -> None:
        altered = bytearray(token)
        altered[-10] ^= 1
        assert "Its signature does not verify" in verify(bytes(altered)).text

    def test_the_certificate_cannot_be_exchanged(self, token: bytes) -> None:
        twin = CA.issue("Time stamper", key=STAMPER.key, serial=STAMPER.serial, ends=NOW + 3 * DAY, **STAMPING)

        def exchange(signed: Any) -> None:
            signed["certificates"] = [cms.CertificateChoices.load(twin.der)]

        verdict = self.forged(token, exchange)
        assert verdict.finding is TimestampFinding.INDETERMINATE
        assert verify(token, certificates=[twin.certificate]).valid

    def test_the_signer_cannot_be_named_in_two_ways(self, token: bytes) -> None:
        def rename(signed: Any) -> None:
            signed["signer_infos"][0]["sid"].chosen["serial_number"] = 4711

        assert "two different certificates" in self.forged(token, rename).text

    def test_two_signers_are_one_too_many(self, token: bytes) -> None:
        def double(signed: Any) -> None:
            first = signed["signer_infos"][0]
            signed["signer_infos"] = [first, first]

        assert "not exactly one signer" in self.forged(token, double).text

    def test_without_signed_attributes_it_is_no_token(self, token: bytes) -> None:
        def strip(signed: Any) -> None:
            del signed["signer_infos"][0]["signed_attrs"]

        assert self.forged(token, strip).finding is TimestampFinding.INVALID


@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param({"usages": ("digital_signature",)}, id="no extended key usage"),
        pytest.param({**STAMPING, "extended_critical": False}, id="not critical"),
        pytest.param({**STAMPING, "extended": ["1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.4"]}, id="not alone"),
    ],
)
def test_only_a_certificate_for_time_stamping_alone_may_stamp(wishes: dict[str, Any]) -> None:
    """openssl refuses to stamp with such certificates, so the token is made here."""
    signer = CA.issue("Impostor", key=new_key("rsa2048", 4), **wishes)
    verdict = verify(token_by(signer))
    assert verdict.finding is TimestampFinding.UNTRUSTED
    assert verdict.trust is not None
    assert verdict.trust.reason is Reason.WRONG_EXTENDED_KEY_USAGE
    assert verify(token_by(STAMPER)).valid


def token_by(signer: Identity, *, md_algorithm: str = "sha256", signature_algo: str = "sha256_rsa") -> bytes:
    """A token by certomancer's time stamper, which asks no questions."""
    key = signer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    stamper = TimeStamper(
        asn1.Certificate.load(signer.der),
        keys.PrivateKeyInfo.load(key),
        algos.SignedDigestAlgorithm({"algorithm": signature_algo}),
        fixed_dt=NOW,
        md_algorithm=md_algorithm,
    )
    request = make_request(SIGNATURE)
    response = stamper.request_tsa_response(tsp.TimeStampReq.load(request.der))
    return extract_token(response.dump(), request)


class TestTheAnswer:
    """Reading a TimeStampResp against what was asked."""

    def test_a_request_survives_its_encoding(self) -> None:
        request = make_request(SIGNATURE, "sha384", policy="1.2.3.4", wants_certificate=False)
        assert read_request(request.der) == request

    def test_each_request_has_a_nonce_of_its_own(self) -> None:
        nonces = {make_request(SIGNATURE).nonce for _ in range(100)}
        assert len(nonces) == 100

    def test_only_strong_hashes_are_asked_for(self) -> None:
        with pytest.raises(TimestampError, match="not with sha1"):
            make_request(SIGNATURE, "sha1")

    def test_a_refusal_is_told_in_the_words_of_the_authority(self, tsa: OpensslTsa) -> None:
        request = make_request(SIGNATURE, policy="1.2.3.4.5.6")
        with pytest.raises(TimestampError, match=r"refused: rejection, unaccepted_policy, .*policy"):
            extract_token(tsa.reply(request.der), request)

    def test_a_replayed_answer_is_refused(self, tsa: OpensslTsa) -> None:
        old = tsa.reply(make_request(SIGNATURE).der)
        with pytest.raises(TimestampError, match="nonce"):
            extract_token(old, make_request(SIGNATURE))

    def test_an_answer_over_something_else_is_refused(self, tsa: OpensslTsa) -> None:
        other = tsa.reply(make_request(b"other").der)
        with pytest.raises(TimestampError, match="something else"):
            extract_token(other, make_request(SIGNATURE))

    def test_an_answer_under_another_policy_is_refused(self, tsa: OpensslTsa) -> None:
        asked = make_request(SIGNATURE)
        answer = tsa.reply(asked.der)
        wanted = TimestampRequest(asked.hash_name, asked.imprint, asked.nonce, "1.3.6.1.4.1.99999.2")
        with pytest.raises(TimestampError, match="under policy"):
            extract_token(answer, wanted)
        assert extract_token(tsa.reply(wanted.der), wanted)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x03\x02\x01\x05", b"\x30\x80\x00\x00"])
    def test_something_else_is_no_answer(self, body: bytes) -> None:
        with pytest.raises(TimestampError, match="did not send"):
            extract_token(body, make_request(SIGNATURE))


@functools.cache
def known_token() -> bytes:
    return token_by(STAMPER)


@settings(max_examples=150, deadline=5000, derandomize=True)
@given(st.data())
def test_no_changed_byte_makes_a_false_valid(data: st.DataObject) -> None:
    good = known_token()
    position = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[position] ^= data.draw(st.integers(1, 255))
    verdict = verify(bytes(changed))
    assert not verdict.valid or (verdict.time, verdict.authority) == (NOW, "CN=Time stamper")


@settings(max_examples=100, deadline=5000, derandomize=True)
@given(st.binary(max_size=300))
def test_garbage_has_a_verdict(garbage: bytes) -> None:
    assert verify(garbage).finding is TimestampFinding.INVALID
