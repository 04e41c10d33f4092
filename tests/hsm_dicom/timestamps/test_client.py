"""Time stamps over HTTP from certomancer, and in two steps through files shared with dcmsign and `openssl
ts`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.timestamps.client import TimestampAuthority
from hsm_dicom.timestamps.files import read_reply, write_query
from hsm_dicom.timestamps.protocol import TimestampError, make_request
from hsm_dicom.timestamps.validation import verify_token
from hsm_dicom.trust import CertificateValidator, TrustStore
from tests.pki import Authority, new_key
from tests.pki.openssl_tsa import OpensslTsa
from tests.pki.served import ServedPki, served_pki

SIGNATURE = bytes(range(256))
UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPki]:
    with served_pki(tmp_path_factory.mktemp("pki")) as pki:
        yield pki


@pytest.mark.parametrize("authority", ["tsa", "shy-tsa"])
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_a_token_is_fetched_and_valid(pki: ServedPki, authority: str, hash_name: str) -> None:
    validator = CertificateValidator(TrustStore([pki.certificate("root")]), online=True)
    ask = TimestampAuthority(pki.url(f"tsa/{authority}"), hash_name, validator=validator)
    verdict = verify_token(ask(SIGNATURE), SIGNATURE, validator)
    assert verdict.valid, verdict.text
    assert verdict.authority == f"CN={authority}"


def test_a_token_of_an_untrusted_authority_is_not_taken(pki: ServedPki) -> None:
    validator = CertificateValidator(TrustStore([Authority("Other CA").certificate]))
    ask = TimestampAuthority(pki.url("tsa/tsa"), validator=validator)
    with pytest.raises(TimestampError, match=r"not usable.*not trusted"):
        ask(SIGNATURE)
    assert TimestampAuthority(pki.url("tsa/tsa"))(SIGNATURE)


@pytest.mark.parametrize("service", ["tsa/nobody", "crls/ca/latest.crl", "nothing"])
def test_an_address_that_stamps_nothing_is_named(pki: ServedPki, service: str) -> None:
    url = pki.url(service)
    with pytest.raises(TimestampError) as caught:
        TimestampAuthority(url)(SIGNATURE)
    assert url in str(caught.value)


def test_an_authority_that_is_not_there_is_reported_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(TimestampError, match="No time stamp from http"):
        TimestampAuthority(f"http://127.0.0.1:{port}/tsr")(SIGNATURE)


def test_a_silent_authority_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ask = TimestampAuthority(f"http://127.0.0.1:{silent.getsockname()[1]}/tsr", seconds=0.3)
        with pytest.raises(TimestampError, match=r"no complete answer within 0\.3 s"):
            ask(SIGNATURE)


def test_an_authority_can_be_asked_from_many_threads(pki: ServedPki) -> None:
    ask = TimestampAuthority(pki.url("tsa/tsa"))
    tokens: list[bytes] = []
    threads = [threading.Thread(target=lambda: tokens.append(ask(SIGNATURE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 8


@pytest.mark.interop
class TestTwoSteps:
    """Query and UID file go out, the reply comes back."""

    @pytest.fixture
    def tsa(self, tmp_path: Path) -> OpensslTsa:
        ca = Authority("Time CA", key=new_key("rsa2048", 1))
        usages = {"extended": ["1.3.6.1.5.5.7.3.8"], "extended_critical": True}
        signer = ca.issue("Time stamper", key=new_key("rsa2048", 2), **usages)
        return OpensslTsa(tmp_path / "tsa", ca, signer)

    def test_what_was_asked_comes_back(self, tmp_path: Path, tsa: OpensslTsa) -> None:
        query, uid_file, reply = (tmp_path / name for name in ("q.tsq", "q.uid", "q.tsr"))
        write_query(make_request(SIGNATURE), UID, query, uid_file)
        reply.write_bytes(tsa.reply(query.read_bytes()))
        answer = read_reply(query, reply, uid_file)
        assert answer.signature_uid == UID
        assert verify_token(answer.token, SIGNATURE, CertificateValidator(TrustStore([tsa.ca.certificate]))).valid

    def test_a_pending_query_is_never_overwritten(self, tmp_path: Path) -> None:
        query, uid_file = tmp_path / "q.tsq", tmp_path / "q.uid"
        write_query(make_request(SIGNATURE), UID, query, uid_file)
        before = query.read_bytes(), uid_file.read_bytes()
        with pytest.raises(TimestampError, match=r"q\.tsq: exists"):
            write_query(make_request(SIGNATURE), UID, query, uid_file)
        with pytest.raises(TimestampError, match=r"q\.uid: exists"):
            write_query(make_request(SIGNATURE), UID, tmp_path / "other.tsq", uid_file)
        assert (query.read_bytes(), uid_file.read_bytes()) == before
        assert not (tmp_path / "other.tsq").exists()

    def test_the_reply_to_another_query_is_refused_by_file_name(self, tmp_path: Path, tsa: OpensslTsa) -> None:
        query, uid_file, reply = (tmp_path / name for name in ("q.tsq", "q.uid", "q.tsr"))
        write_query(make_request(SIGNATURE), UID, query, uid_file)
        reply.write_bytes(tsa.reply(make_request(SIGNATURE).der))
        with pytest.raises(TimestampError, match=r"q\.tsr: .*nonce"):
            read_reply(query, reply, uid_file)

    @pytest.mark.parametrize("broken", ["q.tsq", "q.uid", "q.tsr"])
    def test_a_broken_or_missing_file_is_named(self, tmp_path: Path, tsa: OpensslTsa, broken: str) -> None:
        query, uid_file, reply = (tmp_path / name for name in ("q.tsq", "q.uid", "q.tsr"))
        write_query(make_request(SIGNATURE), UID, query, uid_file)
        reply.write_bytes(tsa.reply(query.read_bytes()))
        for spoil in (lambda path: path.write_bytes(b"not this"), Path.unlink):
            spoil(tmp_path / broken)
            with pytest.raises(TimestampError, match=broken):
                read_reply(query, reply, uid_file)

    @pytest.mark.skipif(not shutil.which("dcmsign"), reason="dcmsign is not installed")
    def test_a_query_of_dcmsign_is_answered_through_us(self, tmp_path: Path, tsa: OpensslTsa) -> None:
        signed = dcmsign_query(tmp_path)
        reply = tmp_path / "q.tsr"
        reply.write_bytes(tsa.reply((tmp_path / "q.tsq").read_bytes()))
        answer = read_reply(tmp_path / "q.tsq", reply, tmp_path / "q.uid")
        signature = pydicom.dcmread(signed)[0xFFFAFFFA][0]
        assert answer.signature_uid == signature.DigitalSignatureUID
        validator = CertificateValidator(TrustStore([tsa.ca.certificate]))
        assert verify_token(answer.token, signature.Signature, validator).valid
        dcmsign("+t", "q.tsq", "q.tsr", "q.uid", "signed.dcm", "stamped.dcm", folder=tmp_path)
        stored = pydicom.dcmread(tmp_path / "stamped.dcm")[0xFFFAFFFA][0]
        assert stored.CertifiedTimestamp.rstrip(b"\0") == answer.token.rstrip(b"\0")
        assert verify_token(stored.CertifiedTimestamp, signature.Signature, validator).valid

    @pytest.mark.skipif(not shutil.which("dcmsign"), reason="dcmsign is not installed")
    def test_our_query_is_completed_by_dcmsign(self, tmp_path: Path, tsa: OpensslTsa) -> None:
        signature = pydicom.dcmread(dcmsign_query(tmp_path))[0xFFFAFFFA][0]
        request = make_request(signature.Signature, "sha512")
        write_query(request, signature.DigitalSignatureUID, tmp_path / "our.tsq", tmp_path / "our.uid")
        (tmp_path / "our.tsr").write_bytes(tsa.reply(request.der))
        dcmsign("+t", "our.tsq", "our.tsr", "our.uid", "signed.dcm", "stamped.dcm", folder=tmp_path)
        stored = pydicom.dcmread(tmp_path / "stamped.dcm")[0xFFFAFFFA][0]
        validator = CertificateValidator(TrustStore([tsa.ca.certificate]))
        assert verify_token(stored.CertifiedTimestamp, signature.Signature, validator).valid


def dcmsign(*arguments: str, folder: Path) -> None:
    subprocess.run(["dcmsign", *arguments], cwd=folder, check=True, capture_output=True, timeout=20)


def dcmsign_query(folder: Path) -> Path:
    """A CT signed by dcmsign, which leaves its query and UID file beside it."""
    signer = Authority("Signer", ca=False, usages=("digital_signature",), key=new_key("rsa2048", 5))
    (folder / "key.pem").write_bytes(signer.key_pem)
    (folder / "cert.pem").write_bytes(signer.pem)
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder / "ct.dcm")
    dcmsign("+s", "key.pem", "cert.pem", "+pb", "+m2", "+ts", "q.tsq", "q.uid", "ct.dcm", "signed.dcm", folder=folder)
    return folder / "signed.dcm"
