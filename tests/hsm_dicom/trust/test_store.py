"""Files of trust: what is read, and what is said about a file that cannot be used."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from hsm_dicom.errors import DicomError
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Reason, TrustFileError, TrustStore
from tests.pki import Authority

CA = Authority("Test CA")
OTHER = Authority("Other CA")
SIGNER = CA.issue("Signer")


def trusts_signer(store: TrustStore) -> bool:
    return CertificateValidator(store).validate(SIGNER.certificate, CertificatePurpose.SIGNING).trusted


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CA.pem, id="PEM"),
        pytest.param(CA.der, id="DER"),
        pytest.param(OTHER.pem + b"\nsome words between\n" + CA.pem, id="bundle"),
        pytest.param(CA.key_pem + CA.pem, id="beside a key"),
        pytest.param(CA.pem.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(serialize_certificates([OTHER.certificate, CA.certificate], Encoding.PEM), id="P7B as PEM"),
        pytest.param(serialize_certificates([OTHER.certificate, CA.certificate], Encoding.DER), id="P7B as DER"),
    ],
)
def test_anchors_are_read_from_pem_and_der(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca"
    file.write_bytes(content)
    assert trusts_signer(TrustStore.from_files([file]))


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(OTHER.pem)
    (tmp_path / "b.der").write_bytes(CA.der)
    assert trusts_signer(TrustStore.from_files([str(tmp_path)]))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_crls_and_ocsp_responses_are_read(tmp_path: Path, encoding: Encoding) -> None:
    anchor, crl, answer = (tmp_path / n for n in ("ca", "crl", "ocsp"))
    anchor.write_bytes(CA.pem)
    crl.write_bytes(CA.crl([SIGNER], encoding=encoding))
    answer.write_bytes(CA.ocsp(SIGNER))
    by_answer = TrustStore.from_files([anchor], ocsp_responses=[answer])
    verdict = CertificateValidator(by_answer).validate(SIGNER.certificate, CertificatePurpose.SIGNING)
    assert verdict.trusted
    assert str(answer) in (verdict.path[0].revocation.source or "")
    by_crl = TrustStore.from_files([anchor], crls=[crl], ocsp_responses=[answer])
    assert (
        CertificateValidator(by_crl).validate(SIGNER.certificate, CertificatePurpose.SIGNING).reason is Reason.REVOKED
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"hello", "is malformed"),
        (CA.der[:-1], "cut short"),
        (CA.der + b"more", "follow where it ends"),
        (CA.key_pem, "holds no CERTIFICATE but PRIVATE KEY"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "nothing complete"),
        (CA.pem.replace(b"M", b"*"), "damaged"),
    ],
    ids=["missing", "empty", "text", "cut", "more", "private-key", "incomplete", "damaged"],
)
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "anchors.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrustFileError) as caught:
        TrustStore.from_files([file])
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert isinstance(caught.value, DicomError)


def test_the_second_certificate_of_a_bundle_is_distinguished_from_the_first(tmp_path: Path) -> None:
    file = tmp_path / "anchors.pem"
    broken = CA.pem.replace(CA.pem.splitlines()[3], b"AAAA")
    file.write_bytes(OTHER.pem + broken)
    with pytest.raises(TrustFileError, match="number 2"):
        TrustStore.from_files([file])


def test_a_file_that_is_no_crl_or_ocsp_response_is_named(tmp_path: Path) -> None:
    anchor, wrong = tmp_path / "ca.pem", tmp_path / "wrong"
    anchor.write_bytes(CA.pem)
    wrong.write_bytes(CA.der)
    with pytest.raises(TrustFileError, match="wrong: no CRL"):
        TrustStore.from_files([anchor], crls=[wrong])
    with pytest.raises(TrustFileError, match="wrong: no OCSP response"):
        TrustStore.from_files([anchor], ocsp_responses=[wrong])


def test_a_refusal_of_an_ocsp_responder_is_no_response(tmp_path: Path) -> None:
    refusal = x509.ocsp.OCSPResponseBuilder.build_unsuccessful(x509.ocsp.OCSPResponseStatus.TRY_LATER)
    file = tmp_path / "ocsp"
    file.write_bytes(refusal.public_bytes(Encoding.DER))
    with pytest.raises(TrustFileError, match="TRY_LATER"):
        TrustStore.from_files([], ocsp_responses=[file])


def test_a_store_tells_what_it_holds_and_travels() -> None:
    store = TrustStore([CA.certificate], [OTHER.certificate])
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store) == "TrustStore(1 anchors, 1 intermediates, 0 CRLs, 0 OCSP responses)"
    assert trusts_signer(again)
