"""Contexts with a token key: every profile, both versions, both kinds of key, and what a handshake refuses."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import Any

import pytest

from hsm_dicom.identity import Identity
from hsm_dicom.tls import (
    PROFILES,
    AuthenticationMode,
    FailureReason,
    HandshakeError,
    TLSProfile,
    client_context,
    get_profile,
    get_tls_facts,
    make_handshake_error,
    openssl,
    server_context,
)
from hsm_dicom.tls.errors import ContextError
from hsm_dicom.tls.offered import report
from hsm_dicom.tls.openssl import set_tls13_suites
from hsm_dicom.trust import CertificateValidator, Reason, TrustStore
from hsm_dicom.trust.clock import set_mark
from tests import pki
from tests.hsm_dicom.tls.fixtures import WITHOUT_CCM_8, Hospital
from tests.hsm_dicom.tls.handshakes import handshake

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


def versions_of(profile: TLSProfile) -> list[str]:
    return [name for name, v in VERSIONS.items() if profile.minimum_version <= v <= profile.maximum_version]


@EVERY_PROFILE
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_token_keys_on_both_sides_serve_every_version_of_every_profile(
    hospital: Hospital, profile: TLSProfile, kind: str
) -> None:
    node = getattr(hospital, kind)
    server = server_context([node], hospital.validator(), profile=profile)
    client = client_context(node, hospital.validator(), profile=profile)
    for version in versions_of(profile):
        client.maximum_version = VERSIONS[version]
        ends = handshake(server, client)
        assert ends.exchange(b"DICOM") == b"DICOM"
        facts = get_tls_facts(ends.server, profile.name)
        assert facts.version == version
        assert facts.suite in {suite.name for suite in profile.suites}
        assert facts.peer is not None
        assert facts.peer.subject == f"CN=node {'ec256' if kind == 'ec' else 'rsa'}"
        assert not facts.resumed


def test_one_server_shows_each_client_the_identity_it_can_use(hospital: Hospital) -> None:
    server = server_context([hospital.rsa, hospital.ec], hospital.validator())
    for algorithm, subject in (("ECDHE-RSA-AES256-GCM-SHA384", "rsa"), ("ECDHE-ECDSA-AES256-GCM-SHA384", "ec256")):
        client = client_context(hospital.peer(), hospital.validator())
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(algorithm)
        peer = get_tls_facts(handshake(server, client).client, "any").peer
        assert peer is not None
        assert peer.subject == f"CN=node {subject}"


def test_the_modified_profile_lets_the_server_choose_the_suite_and_the_default_the_client(hospital: Hospital) -> None:
    chosen = {}
    for name in ("modified-bcp195-rfc9325", "bcp195-rfc9325"):
        server = server_context([hospital.rsa], hospital.validator(), profile=get_profile(name))
        client = client_context(hospital.peer(), hospital.validator())
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384")
        cipher = handshake(server, client).server.cipher()
        assert cipher is not None
        chosen[name] = cipher[0]
    assert chosen == {
        "modified-bcp195-rfc9325": "ECDHE-RSA-AES256-GCM-SHA384",
        "bcp195-rfc9325": "ECDHE-RSA-AES128-GCM-SHA256",
    }


@pytest.mark.parametrize("suite", ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"])
def test_the_modified_profile_negotiates_the_ccm_suites_that_python_cannot_enable(
    hospital: Hospital, suite: str
) -> None:
    profile = get_profile("modified-bcp195-rfc9325")
    server = server_context([hospital.rsa], hospital.validator(), profile=profile)
    client = client_context(hospital.peer(), hospital.validator(), profile=profile)
    set_tls13_suites(client, [suite])
    if "CCM_8" in suite and ssl.OPENSSL_VERSION_INFO >= WITHOUT_CCM_8:
        with pytest.raises(ssl.SSLError, match="NO_CIPHERS_AVAILABLE"):
            handshake(server, client)
        return
    assert get_tls_facts(handshake(server, client).server, profile.name).suite == suite


def test_one_way_authentication_asks_the_client_for_nothing(hospital: Hospital) -> None:
    server = server_context([hospital.rsa], None, authentication=AuthenticationMode.ONE_WAY)
    client = client_context(None, hospital.validator(), authentication=AuthenticationMode.ONE_WAY)
    ends = handshake(server, client)
    assert get_tls_facts(ends.server, "any").peer is None
    assert get_tls_facts(ends.client, "any").peer is not None


def test_a_session_is_not_resumed_so_that_a_revocation_holds_at_once(hospital: Hospital) -> None:
    server = server_context([hospital.rsa], hospital.validator())
    client = client_context(hospital.peer(), hospital.validator())
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    first = handshake(server, client)
    again = handshake(server, client, session=first.client.session)
    assert not again.server.session_reused


def refusal(
    hospital: Hospital, server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> HandshakeError:
    with pytest.raises(ssl.SSLError) as caught:
        handshake(server, client, host)
    return make_handshake_error(caught.value, "192.0.2.1")


def day(days: int) -> timedelta:
    return timedelta(days=days)


def test_openssl_and_the_validator_judge_dates_by_the_same_time(hospital: Hospital) -> None:
    renewed = hospital.peer(begins=pki.NOW + day(100), ends=pki.NOW + day(200))
    server = server_context([hospital.rsa], hospital.validator())
    client = client_context(renewed, hospital.validator())

    def refused_for() -> Reason | None:
        verdict = refusal(hospital, server, client).verdict
        return None if verdict is None else verdict.reason

    assert refused_for() is Reason.NOT_YET_VALID
    try:
        set_mark(pki.NOW + day(150))
        handshake(server, client)
        set_mark(pki.NOW + day(250))
        assert refused_for() is Reason.EXPIRED
    finally:
        set_mark(None)


BAD_CLIENTS: dict[str, tuple[dict[str, Any], Reason]] = {
    "expired": ({"begins": pki.NOW - day(9), "ends": pki.NOW - day(1)}, Reason.EXPIRED),
    "not yet valid": ({"begins": pki.NOW + day(1), "ends": pki.NOW + day(9)}, Reason.NOT_YET_VALID),
    "another CA": ({"issuer": pki.Authority("Foreign CA")}, Reason.NO_PATH),
    "a weak key": ({"key": pki.new_key("rsa1024")}, Reason.WEAK_KEY),
    "a SHA-1 signature": ({}, Reason.WEAK_HASH),
    "a certificate for servers": ({"extended": ["1.3.6.1.5.5.7.3.1"]}, Reason.WRONG_EXTENDED_KEY_USAGE),
    "a key for encryption": (
        {"usages": ["key_encipherment"], "key": pki.new_key("rsa2048", 3)},
        Reason.WRONG_KEY_USAGE,
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wrong", BAD_CLIENTS)
def test_a_client_with_a_bad_certificate_is_refused_with_its_name_and_the_reason(
    hospital: Hospital, wrong: str, version: str
) -> None:
    wishes, reason = BAD_CLIENTS[wrong]
    peer = hospital.sha1_peer("bad CT") if "SHA-1" in wrong else hospital.peer("bad CT", **wishes)
    server = server_context([hospital.rsa], hospital.validator())
    client = weak_client(hospital, peer, version)
    failed = refusal(hospital, server, client)
    assert failed.reason is FailureReason.CERTIFICATE_REFUSED
    assert failed.verdict is not None
    assert failed.verdict.reason is reason
    assert "192.0.2.1, 'CN=bad CT'" in str(failed)


def test_a_revoked_client_is_refused_inside_the_handshake(hospital: Hospital) -> None:
    peer = hospital.peer("stolen CT")
    issued = pki.Identity(peer.certificate, peer.key)
    server = server_context([hospital.rsa], hospital.validator(crl=hospital.ca.crl([issued])))
    failed = refusal(hospital, server, client_context(peer, hospital.validator()))
    assert failed.verdict is not None
    assert failed.verdict.reason is Reason.REVOKED
    assert "'CN=stolen CT' is refused" in str(failed)


def test_a_server_under_another_name_is_refused(hospital: Hospital) -> None:
    server = server_context([hospital.rsa], hospital.validator())
    failed = refusal(hospital, server, client_context(hospital.peer(), hospital.validator()), host="pacs.example")
    assert failed.reason is FailureReason.WRONG_NAME
    assert "'CN=node rsa'" in str(failed)


def test_a_common_name_does_not_stand_in_for_a_subject_alternative_name(hospital: Hospital) -> None:
    peer = hospital.peer("localhost", extensions=[])
    server = server_context([peer], hospital.validator())
    assert (
        refusal(hospital, server, client_context(hospital.peer(), hospital.validator())).reason
        is FailureReason.WRONG_NAME
    )


def test_a_server_may_be_known_by_an_address(hospital: Hospital) -> None:
    server = server_context([hospital.rsa], hospital.validator())
    handshake(server, client_context(hospital.peer(), hospital.validator()), "127.0.0.1")


def test_intermediates_that_the_peer_does_not_send_come_from_the_store(hospital: Hospital) -> None:
    below = hospital.ca.authority("Department CA")
    peer = hospital.peer("CT 2", issuer=below)
    knowing = CertificateValidator(TrustStore([hospital.ca.certificate], intermediates=[below.certificate]))
    handshake(server_context([hospital.rsa], knowing), client_context(peer, hospital.validator()))
    failed = refusal(
        hospital, server_context([hospital.rsa], hospital.validator()), client_context(peer, hospital.validator())
    )
    assert failed.verdict is not None
    assert failed.verdict.reason is Reason.NO_PATH


def test_a_single_certificate_may_be_the_anchor(hospital: Hospital) -> None:
    alone = pki.Authority("lone CT", ca=False, usages=("digital_signature",))
    peer = Identity("lone CT", alone.key, alone.certificate)
    server = server_context([hospital.rsa], CertificateValidator(TrustStore([alone.certificate])))
    handshake(server, client_context(peer, hospital.validator()))


def test_a_trust_store_alone_serves_at_both_ends(hospital: Hospital) -> None:
    store = TrustStore([hospital.ca.certificate])
    handshake(server_context([hospital.rsa], store), client_context(hospital.peer(), store))
    foreign = TrustStore([pki.Authority("Another CA").certificate])
    assert refusal(hospital, server_context([hospital.rsa], foreign), client_context(hospital.peer(), store)).verdict


def test_a_client_without_a_certificate_is_reported(hospital: Hospital) -> None:
    server = server_context([hospital.rsa], hospital.validator())
    client = client_context(None, hospital.validator(), authentication=AuthenticationMode.ONE_WAY)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert refusal(hospital, server, client).reason is FailureReason.NO_CERTIFICATE


def test_a_weak_identity_is_not_loaded(hospital: Hospital) -> None:
    weak = hospital.peer("weak", key=pki.new_key("rsa1024"))
    with pytest.raises(ContextError, match="RSA with 1024 bits"):
        server_context([weak], hospital.validator())


def test_mutual_authentication_cannot_be_forgotten(hospital: Hospital) -> None:
    with pytest.raises(ContextError, match="or choose one-way authentication"):
        client_context(None, hospital.validator())
    with pytest.raises(ContextError, match="no trust anchors"):
        server_context([hospital.rsa], None)
    with pytest.raises(ContextError, match="needs an identity"):
        server_context([], hospital.validator())


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    with pytest.raises(ContextError, match="modified-bcp195-rfc9325"):
        get_profile("tls")


def weak_client(hospital: Hospital, peer: Identity, version: str) -> ssl.SSLContext:
    """A client of another make, which does not mind its own certificate."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    client.maximum_version = VERSIONS[version]
    client.load_verify_locations(hospital.ca_file)
    client.load_cert_chain(*hospital.files(peer))
    return client


HYBRID = "X25519MLKEM768"
GROUPS = [
    ("bcp195-rfc9325", HYBRID if openssl.has_group(HYBRID) else "x25519"),
    ("bcp195-non-downgrading", HYBRID if openssl.has_group(HYBRID) else "x25519"),
    ("modified-bcp195-rfc9325", "secp256r1"),
    ("bcp195-extended", "secp256r1"),
]


@pytest.mark.parametrize(("profile", "expected"), GROUPS, ids=[name for name, _ in GROUPS])
def test_the_group_is_reported_and_a_hybrid_is_preferred_where_the_profile_does_not_exclude_it(
    hospital: Hospital, profile: str, expected: str
) -> None:
    trust = hospital.validator()
    server = server_context([hospital.rsa], trust, profile=profile)
    ends = handshake(server, client_context(hospital.rsa, trust, profile=profile))
    facts = [get_tls_facts(end, profile) for end in (ends.client, ends.server)]
    assert [one.group and one.group.lower() for one in facts] == [expected.lower()] * 2


def test_a_peer_that_has_only_an_older_group_connects(hospital: Hospital) -> None:
    trust = hospital.validator()
    client = client_context(hospital.rsa, trust)
    openssl.set_groups(client, ["secp384r1"])
    for ends in (
        handshake(server_context([hospital.rsa], trust), client),
        handshake(_only(server_context([hospital.rsa], trust), "secp384r1"), client_context(hospital.rsa, trust)),
    ):
        assert get_tls_facts(ends.client, "bcp195-rfc9325").group == "secp384r1"
        assert ends.exchange(b"x") == b"x"


def test_an_additional_group_that_openssl_does_not_have_is_left_out(hospital: Hospital) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    openssl.prefer_groups(context, ["NoSuchGroup"], ["secp384r1", "secp256r1"])
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = server_context([hospital.rsa], None, authentication="one-way")
    ends = handshake(server, context)
    assert get_tls_facts(ends.client, "bcp195-rfc9325").group in ("secp384r1", "secp256r1")


def test_a_group_of_the_profile_that_openssl_does_not_have_is_left_out_and_reported(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is OpenSSL in FIPS mode, which `make test-fips` runs."""
    monkeypatch.setattr(openssl, "has_group", lambda name: "25519" not in name and name != "x448")
    client = client_context(hospital.rsa, hospital.validator(), profile="bcp195")
    openssl.set_groups(server := server_context([hospital.rsa], hospital.validator()), ["x25519", "secp384r1"])
    assert get_tls_facts(handshake(server, client).client, "bcp195").group == "secp384r1"
    found = report(get_profile("bcp195"))
    assert found.offered_groups == ("secp256r1", "secp384r1", "secp521r1")
    assert found.shortfalls[-1].endswith(" does not have these groups: x25519, x448.")


def _only(context: ssl.SSLContext, group: str) -> ssl.SSLContext:
    openssl.set_groups(context, [group])
    return context
