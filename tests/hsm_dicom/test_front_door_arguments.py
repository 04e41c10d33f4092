"""A wrong argument raises a TypeError or ValueError that says what is wanted, never an error from inside."""

from __future__ import annotations

import io
from typing import Any

import pytest

import hsm_dicom
from hsm_dicom.identity.errors import CertificateExpiredError, CertificateMismatchError
from hsm_dicom.signatures import SigningRequest, remove
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, image
from tests.pki import NOW, new_key

WHO = (SIGNER.key, SIGNER.certificate)
SOURCE = str(image("CT_small.dcm"))


def sign(source: Any = SOURCE, target: Any = None, signer: Any = WHO, profile: Any = "creator", **options: Any) -> Any:
    return hsm_dicom.sign(source, io.BytesIO() if target is None else target, signer, profile, **options)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"source": None}, "a path, bytes, a binary file or a pydicom Dataset, not None"),
        ({"source": 7}, "a path, bytes, a binary file or a pydicom Dataset, not int"),
        ({"source": io.StringIO("text")}, "binary mode"),
        ({"target": 7}, "target must be a path, a binary file, or None for bytes and Datasets, not int"),
        ({"target": io.StringIO()}, "binary mode"),
        ({"signer": None}, "an Identity .*not None"),
        ({"signer": "node"}, "an Identity .*not str"),
        ({"signer": SIGNER.key}, "a pair of a private key and its x509.Certificate"),
        ({"signer": (SIGNER.certificate, SIGNER.key)}, "its key must be an RSA or EC private key, not Certificate"),
        ({"signer": (SIGNER.key, SIGNER.der)}, "its certificate must be an x509.Certificate, not bytes"),
        ({"profile": None}, "'none', 'base', 'creator', 'authorization', 'sr', 'sr-verification', not None"),
        ({"profile": 2}, "'creator'.*, not int"),
        ({"mac": 256}, "'sha256', 'sha384', 'sha512'.*, not int"),
        ({"tags": "PatientName"}, "a list of tags, such as .*, not str"),
        ({"tags": 0x00100010}, "a list of tags, such as .*, not int"),
        ({"tags": [None]}, "a number or a text, .*, not None"),
        ({"tags": [b"PatientName"]}, "a number or a text, .*, not bytes"),
        ({"item": 0}, r"such as 'ReferencedImageSequence\[0\]', not int"),
        ({"purpose": "1"}, "a number from 1 to 18 .*, not str"),
        ({"purpose": True}, "a number from 1 to 18 .*, not bool"),
        ({"timestamp": lambda _: None}, r"A time stamp must be the bytes of a TimeStampToken \(DER\), not None"),
        ({"timestamp": 80}, "the URL of a time stamping authority, or a function .*, not int"),
        ({"overwrite": "yes"}, "overwrite must be True or False, not str"),
        ({"allow_weak": 1}, "allow_weak must be True or False, not int"),
        ({"repair": None}, "repair must be True or False, not None"),
    ],
)
def test_sign_says_which_type_it_wants(arguments: dict[str, Any], wanted: str) -> None:
    with pytest.raises(TypeError, match=wanted):
        sign(**arguments)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"profile": "creators"}, "one of 'none', 'base', .*'sr-verification', not 'creators'"),
        ({"mac": "sha3"}, "one of 'sha256', .*, not 'sha3'"),
        ({"tags": ["PatientNam"]}, "tags: 'PatientNam' is neither a tag such as 0010,0010 nor a keyword"),
        ({"tags": [-1]}, "from 0 to 0xFFFFFFFF, not -1"),
        ({"item": "PatientName"}, "item: 'PatientName' does not name an Item"),
        ({"purpose": 19}, "a number from 1 to 18 .*, not 19"),
        ({"timestamp": "tsa.example"}, "begins with http:// or https://, not 'tsa.example'"),
    ],
)
def test_sign_lists_the_choices(arguments: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        sign(**arguments)


def test_names_are_taken_for_enums_in_any_case() -> None:
    report = sign(profile="Creator", mac="SHA384", tags=["Rows"])
    assert (report.profile, report.mac) == (hsm_dicom.Profile.CREATOR, "SHA384")


@pytest.mark.parametrize(
    ("arguments", "error", "wanted"),
    [
        ({"source": None}, TypeError, "a path, bytes, a binary file or a pydicom Dataset, not None"),
        ({"trust": 7}, TypeError, "trust must be a TrustStore, an x509.Certificate, .*, not int"),
        ({"trust": b"der"}, TypeError, "trust must be .*, not bytes"),
        ({"trust": [CA.certificate, None]}, TypeError, "trust must be .*, not None"),
        ({"trust": "-----BEGIN CERTIFICATE-----\n" + 400 * "A"}, TypeError, "not the content of a PEM file"),
        ({"timestamp_trust": 7}, TypeError, "timestamp_trust must be a TrustStore"),
        ({"policy": {"require": ["creator"]}}, TypeError, "policy must be a Policy, .*, not dict"),
        ({"online": "no"}, TypeError, "online must be True or False, not str"),
        ({"now": "today"}, TypeError, "now must be a datetime, not str"),
        ({"now": NOW.replace(tzinfo=None)}, ValueError, "now must be aware of its time zone"),
        ({"trust": "absent.pem"}, hsm_dicom.Error, "absent.pem"),
        ({"policy": "absent.toml"}, hsm_dicom.Error, "absent.toml"),
    ],
)
def test_verify_says_what_it_wants(arguments: dict[str, Any], error: type[Exception], wanted: str) -> None:
    with pytest.raises(error, match=wanted):
        hsm_dicom.verify(**({"source": SOURCE} | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "wanted"),
    [
        ((SOURCE, "out", WHO), TypeError, "sources must be a list of paths, not str; for one object, call sign"),
        ((7, "out", WHO), TypeError, "sources must be a list of paths, not int"),
        (([7], "out", WHO), TypeError, "A source must be a path, not int"),
        (([SOURCE], None, WHO), TypeError, "target, unless it maps sources to targets, must be a path, not None"),
        (([SOURCE], {SOURCE: 7}, WHO), TypeError, "A target must be a path, not int"),
        (([SOURCE], {"other": "out"}, WHO), ValueError, "target has no entry for .*CT_small.dcm"),
        (([SOURCE, SOURCE], "out", WHO), ValueError, "Several sources would become"),
        (([SOURCE], "out", "node"), TypeError, "an Identity .*not str"),
        (([SOURCE], "out", WHO, "creators"), ValueError, "one of 'none'"),
    ],
)
def test_sign_files_says_what_it_wants_when_it_is_called(
    arguments: tuple[Any, ...], error: type[Exception], wanted: str
) -> None:
    with pytest.raises(error, match=wanted):
        hsm_dicom.sign_files(*arguments)


def test_numbers_of_jobs_are_checked() -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, not 0"):
        hsm_dicom.sign_files([SOURCE], "out", WHO, jobs=0)
    with pytest.raises(TypeError, match="jobs must be a whole number, not str"):
        hsm_dicom.sign_files([SOURCE], "out", WHO, jobs="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jobs must be at least 1, not 0"):
        hsm_dicom.verify_files([SOURCE], jobs=0)
    with pytest.raises(TypeError, match="stop must be a threading.Event, not bool"):
        hsm_dicom.sign_files([SOURCE], "out", WHO, stop=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="paths must be a list of paths, not str; for one object, call verify"):
        hsm_dicom.verify_files(SOURCE)
    with pytest.raises(TypeError, match="Each of paths must be a path, not int"):
        hsm_dicom.verify_files([7])  # type: ignore[list-item]


def test_the_name_of_an_identity_is_text() -> None:
    with pytest.raises(TypeError, match="name must be the name of an identity in the configuration, not int"):
        hsm_dicom.load_identity(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="configuration must be a Configuration, the path of its file, or None"):
        hsm_dicom.load_identity("node", 7)  # type: ignore[arg-type]


def test_a_pair_that_does_not_match_and_an_expired_signer_are_refused() -> None:
    with pytest.raises(CertificateMismatchError, match="not for the key"):
        sign(signer=(new_key("rsa2048", 9), SIGNER.certificate))
    old = CA.issue("old", key=SIGNER.key, begins=NOW.replace(year=NOW.year - 2), ends=NOW.replace(year=NOW.year - 1))
    with pytest.raises(CertificateExpiredError, match="expired on"):
        sign(signer=(SIGNER.key, old.certificate))
    with pytest.raises(CertificateExpiredError, match="expired on"):
        hsm_dicom.sign_files([SOURCE], "out", (SIGNER.key, old.certificate))


def test_a_request_takes_a_certificate_or_its_der() -> None:
    assert SigningRequest(SIGNER.certificate) == SigningRequest(SIGNER.der)
    with pytest.raises(TypeError, match="certificate must be an x509.Certificate or its DER as bytes, not str"):
        SigningRequest("node.pem")  # type: ignore[arg-type]


def test_a_policy_takes_requirements_by_their_values() -> None:
    policy: Any = hsm_dicom.Policy()
    assert policy.with_requirements(["creator"]) == hsm_dicom.Policy(require={"creator"})
    with pytest.raises(TypeError, match="requirements must be a list of requirements, .*, not str"):
        policy.with_requirements("creator")
    with pytest.raises(ValueError, match="A requirement must be one of 'any', 'creator', .*, not 'creater'"):
        policy.with_requirements(["creater"])


def test_integrity_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError, match="neither true nor false: use the attribute intact of each of its signatures"):
        bool(hsm_dicom.check_integrity(SOURCE))


def test_the_lower_layer_refuses_text_in_the_place_of_a_profile_or_of_uids() -> None:
    with pytest.raises(TypeError, match="profile must be a Profile, such as Profile.CREATOR, not str"):
        SigningRequest(SIGNER.certificate, "creator")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="uids must be a list of Digital Signature UIDs, not str"):
        remove(SOURCE, "1.2.3", None)
