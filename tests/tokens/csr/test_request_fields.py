"""Alternative names and extended key usages of a request: what is read, and a sentence for each mistake."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.pki import Authority
from tokens.csr import (
    NameKind,
    choose_usage,
    extended_usages_of,
    format_extended_usage,
    parse_alternative_name,
    parse_extended_usage,
    read_request_fields,
)
from tokens.csr.alternative_names import MisplacedNameError
from tokens.errors import CeremonyError
from tokens.pkcs11.ceremony import Usage


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dns", "ct1.klinik.example"),
        ("dns", "CT1"),
        ("dns", "*.klinik.example"),
        ("dns", "xn--rntgen-wxa.example"),
        ("ip", "10.0.0.7"),
        ("ip", "2001:db8::7"),
        ("email", "it@klinik.example"),
        ("uri", "https://klinik.example/ct1"),
        ("uri", "urn:oid:1.2.276.0.7230010"),
    ],
)
def test_a_name_is_read(kind: str, text: str) -> None:
    assert str(parse_alternative_name(NameKind(kind), text).value) == text


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("dns", "", "A host name is empty"),
        ("dns", "https://ct1.example/x", "is more than a host name. Write ct1.example alone."),
        ("dns", "ct1.example:11112", "Write ct1.example alone."),
        ("dns", "ct1.example.", "Write ct1.example alone."),
        ("dns", "ct1.example,ct2.example", "Give each name by itself, without blanks."),
        ("dns", "röntgen.example", "Write its ASCII form, which begins with xn--."),
        ("dns", "*", "Write it as the whole first label"),
        ("dns", "ct*.klinik.example", "The * in 'ct*.klinik.example' is not allowed."),
        ("dns", "10.0.0.300", "looks like an IP address and is none"),
        ("dns", "ct_1.example", "its part 'ct_1' is not allowed. Use letters, digits and inner hyphens"),
        ("dns", "a" * 64, "63 in each part at most"),
        ("ip", "300.1", "'300.1' is no IP address. Write it like 10.0.0.7"),
        ("ip", "10.0.0.7:11112", "Write 10.0.0.7 alone."),
        ("ip", "[2001:db8::7]", "Write 2001:db8::7 alone."),
        ("ip", "10.0.0.0/24", "is a network. Give each address by itself."),
        ("ip", "fe80::1%eth0", "has a zone. Write fe80::1 alone."),
        ("ip", "0.0.0.0", "Give the address that peers connect to."),
        ("email", "it", "is no e-mail address"),
        ("email", "IT <it@klinik.example>", "Write it@klinik.example alone."),
        ("email", "mailto:it@klinik.example", "Write it@klinik.example alone."),
        ("email", "röntgen@klinik.example", "Use an address with ASCII characters only."),
        ("uri", "klinik.example", "has no scheme, which a URI begins with. Write it like https://klinik.example"),
        ("uri", "https://klinik.example/a b", "Write them as %XX"),
        ("uri", "https://", "has nothing after its scheme"),
    ],
)
def test_each_mistake_in_a_name_has_a_sentence_with_its_remedy(kind: str, text: str, said: str) -> None:
    with pytest.raises(CeremonyError) as caught:
        parse_alternative_name(NameKind(kind), text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given_as", "text", "is_one"),
    [
        ("dns", "10.0.0.7", "ip"),
        ("dns", "it@klinik.example", "email"),
        ("ip", "ct1.example", "dns"),
        ("uri", "10.0.0.7", "ip"),
    ],
)
def test_a_name_of_another_kind_says_which(given_as: str, text: str, is_one: str) -> None:
    with pytest.raises(MisplacedNameError) as caught:
        parse_alternative_name(NameKind(given_as), text)
    assert (caught.value.kind, caught.value.name) == (is_one, text)


@given(st.sampled_from(NameKind), st.text())
def test_no_name_ends_in_another_error(kind: NameKind, text: str) -> None:
    try:
        parse_alternative_name(kind, text)
    except CeremonyError:
        return


@pytest.mark.parametrize(
    ("text", "oid"),
    [
        ("clientAuth", "1.3.6.1.5.5.7.3.2"),
        ("server-auth", "1.3.6.1.5.5.7.3.1"),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_an_extended_key_usage_is_a_name_or_a_number(text: str, oid: str) -> None:
    assert parse_extended_usage(text).dotted_string == oid


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clientAuht", "Did you mean clientAuth?"),
        ("digitalSignature", "is a key usage, not an extended one"),
        ("serverAuth,clientAuth", "Give each extended key usage by itself."),
        ("1.2..3", "is no object identifier"),
        ("", "is no known extended key usage"),
    ],
)
def test_each_mistake_in_an_extended_key_usage_has_a_sentence(text: str, said: str) -> None:
    with pytest.raises(CeremonyError) as caught:
        parse_extended_usage(text)
    assert said in str(caught.value)


def test_a_renewal_asks_for_what_the_certificate_has() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("ct1.example")])
    signer = read_request_fields(Authority().issue("node", extensions=[(names, False)]).certificate)
    assert signer.subject.rfc4514_string() == "CN=node"
    assert signer.alternative_names == tuple(names)
    assert (signer.extended_usages, signer.usage) == ((), Usage.SIGN)
    assert read_request_fields(Authority().issue("node", usages=("digital_signature",)).certificate).usage is Usage.TLS


def test_the_use_of_a_key_follows_from_its_extended_key_usages() -> None:
    assert [format_extended_usage(one) for one in extended_usages_of(Usage.TLS)] == ["serverAuth", "clientAuth"]
    assert choose_usage([parse_extended_usage("clientAuth")]) is Usage.TLS
    assert choose_usage([parse_extended_usage("documentSigning")]) is Usage.SIGN
