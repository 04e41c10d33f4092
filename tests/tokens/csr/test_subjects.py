"""Subjects as people type them: the name that is meant, and a sentence for each mistake."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tokens.csr import parse_subject
from tokens.errors import CeremonyError

KLINIK = "CN=CT 1,O=Klinik,C=DE"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("C=DE, O=Klinik, CN=CT 1", KLINIK),
        ("C = DE, O = Klinik, CN = CT 1", KLINIK),
        ("CN=CT 1,O=Klinik,C=DE", KLINIK),
        ("cn=CT 1; o=Klinik; c=DE", KLINIK),
        ("/C=DE/O=Klinik/CN=CT 1", KLINIK),
        ("2.5.4.6=DE, OID.2.5.4.10=Klinik, commonName=CT 1", KLINIK),
        ("CN=CT 1,OU=Radiology", "CN=CT 1,OU=Radiology"),
        ("OU=a,OU=b", "OU=a,OU=b"),
        ("/OU=a/OU=b", "OU=b,OU=a"),
        ("CN=CT 1,CN=Computers,DC=klinik,DC=example", "CN=CT 1,CN=Computers,DC=klinik,DC=example"),
        ("DC=example,DC=klinik,CN=CT 1", "CN=CT 1,DC=klinik,DC=example"),
        ('C=DE, O="Klinik, Nord", CN=CT 1', r"CN=CT 1,O=Klinik\, Nord,C=DE"),
        (r"/O=Klinik\/Nord/CN=CT 1", "CN=CT 1,O=Klinik/Nord"),
        (r"CN=A\+B,O=R\C3\B6ntgen", r"CN=A\+B,O=Röntgen"),
        ("O=Klinik, CN=CT 1+serialNumber=47", "CN=CT 1+2.5.4.5=47,O=Klinik"),
        ("C=DE, CN=CT 1, emailAddress=it@klinik.example", "1.2.840.113549.1.9.1=it@klinik.example,CN=CT 1,C=DE"),
        ("E=it@klinik.example,CN=CT 1,C=DE", "1.2.840.113549.1.9.1=it@klinik.example,CN=CT 1,C=DE"),
    ],
)
def test_what_people_type_is_the_name_that_they_mean(text: str, meant: str) -> None:
    assert parse_subject(text).rfc4514_string() == meant


def test_an_email_address_is_encoded_as_rfc_5280_says() -> None:
    (attribute,) = parse_subject("emailAddress=it@klinik.example")
    assert attribute.oid == NameOID.EMAIL_ADDRESS
    assert b"\x16\x11it@klinik.example" in parse_subject("emailAddress=it@klinik.example").public_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" ", "The subject is empty. Write it like 'C=DE, O=Hospital, CN=CT 1'."),
        ("CT 1", "The part 'CT 1' of the subject 'CT 1' names no attribute. Write it like 'CN=CT 1'."),
        ("O=Klinik, Nord, CN=CT 1", "The part 'Nord' of the subject 'O=Klinik, Nord, CN=CT 1' names no attribute"),
        ("/O=Klinik/Nord/CN=CT 1", "Write it like 'CN=Nord', or write \\/ for a '/' that belongs to a value."),
        ("CN=A+B", "write \\+ for a '+'"),
        ("C=DE,, CN=CT 1", "has an empty part. Remove the separator"),
        ("/C=DE/CN=CT 1/", "has an empty part. Remove the separator"),
        (
            "C=DE, comonName=CT 1",
            "'comonName' in the subject 'C=DE, comonName=CT 1' is no known attribute. Did you",
        ),
        ("SN=47, CN=CT 1", "Write serialNumber= for the number of a device, or surname= for a person."),
        ("CN=", "CN has no value."),
        ("C=Germany, CN=CT 1", "The country 'Germany' is no code of ISO 3166. Write its two capital letters"),
        ("C=de, CN=CT 1", "Write its two capital letters, such as C=DE."),
        ("C=DE, C=AT", "has two countries. Write C= once."),
        ("CN=CT 1 O=Klinik C=DE", "contains 'O='. Put a comma before O"),
        (f"CN={'a' * 65}", "has 65 characters, and 64 are allowed"),
        ("CN=a\tb", "has a control character"),
        ("CN=a\\", "ends with a backslash"),
        (r"CN=\FF", "are no UTF-8"),
        ('O="Klinik, CN=CT 1', "is not closed"),
        ("emailAddress=it, CN=CT 1", "'it' is no e-mail address. Write it like emailAddress=it@hospital.example."),
        ("emailAddress=röntgen@klinik.example", "may have ASCII characters only"),
        ("serialNumber=4_7", "may have letters, digits, blanks"),
        ("2.5.4.6.=DE", "is no known attribute"),
    ],
)
def test_each_mistake_has_a_sentence_with_its_remedy(text: str, said: str) -> None:
    with pytest.raises(CeremonyError) as caught:
        parse_subject(text)
    assert said in str(caught.value)


@given(st.text())
def test_no_text_ends_in_another_error(text: str) -> None:
    try:
        name = parse_subject(text)
    except CeremonyError:
        return
    assert isinstance(name, x509.Name)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9), max_size=3)
)
def test_what_rfc_4514_writes_is_read_as_the_same_name(values: list[str]) -> None:
    oids = (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME)
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in zip(reversed(oids), values, strict=False)])
    if values:
        assert parse_subject(name.rfc4514_string()) == name
