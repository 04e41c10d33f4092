"""`hsm-dicom signatures` and `purposes`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.cli import exits
from hsm_dicom.signatures import PURPOSES, check_integrity
from hsm_dicom.signatures.listing import list_signatures
from tests.hsm_dicom.cli.conftest import Node, Run, image
from tests.hsm_dicom.dataset.samples import encode
from tests.hsm_dicom.signatures.tampering import CONTENT, changed, report, wrap
from tests.pki import Authority, new_key

TIME_STAMPING = "1.3.6.1.5.5.7.3.8"


@pytest.fixture
def signed(run: Run, signing_node: Node) -> Path:
    """A CT with two signatures."""
    out = signing_node.folder / "signed.dcm"
    identity = ("--config", signing_node.config, "--identity", "node")
    run("sign", image(), "-o", out, *identity)
    run("sign", out, "--in-place", *identity, "--purpose", "5")
    return out


def test_list_shows_what_signatures_say_of_themselves(run: Run, signed: Path) -> None:
    result = run("signatures", "list", signed, image())
    assert result.status == exits.OK
    assert result.said.count("signer CN=Signer node") == 2
    assert "purpose Verification Signature (5, ASTM-sigpurpose)" in result.said
    assert "no signature" in result.said


def test_list_shows_what_is_signed_and_in_which_encoding(run: Run, signed: Path) -> None:
    one, _ = run("signatures", "list", signed, "--json").lines[0]["signatures"]
    assert one["mac_transfer_syntax"] == "1.2.840.10008.1.2.1"
    assert "(0010,0010)" in one["elements"]
    said = run("signatures", "list", signed).said
    assert said.count("encoding 1.2.840.10008.1.2.1") == 2
    assert "PatientName" in said


def test_list_saves_the_certificates(run: Run, signed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    for _ in range(2):
        assert run("signatures", "list", signed, "--save-certificate", folder).status == exits.OK
    for one in list_signatures(signed):
        certificate = x509.load_pem_x509_certificate((folder / f"{one.uid}.pem").read_bytes())
        assert certificate.public_bytes(Encoding.DER) == one.certificate
    (folder / f"{one.uid}.pem").write_text("precious")
    refused = run("signatures", "list", signed, "--save-certificate", folder)
    assert refused.status == exits.FAILED
    assert "exists already, with other content" in refused.err
    assert (folder / f"{one.uid}.pem").read_text() == "precious"


def test_list_in_json_names_what_cannot_be_read(run: Run, signed: Path, signing_node: Node) -> None:
    result = run("signatures", "list", signed, signing_node.write("x", b"no"), "--json")
    assert result.status == exits.FAILED
    [line] = result.lines
    assert line["schema"] == "hsm-dicom/signatures/2"
    assert [one["number"] for one in line["signatures"]] == [0, 1]
    assert "x: not a DICOM file" in result.err


def test_remove_takes_one_out_and_leaves_the_other_good(run: Run, signed: Path, tmp_path: Path) -> None:
    first, second = (one.uid for one in list_signatures(signed))
    out = tmp_path / "less.dcm"
    assert run("signatures", "remove", signed, "--uid", first, "-o", out).status == exits.OK
    [left] = check_integrity(out).signatures
    assert (left.uid, left.intact) == (second, True)


def test_remove_of_an_absent_signature_is_refused(run: Run, signed: Path) -> None:
    before = signed.read_bytes()
    result = run("signatures", "remove", signed, "--uid", "1.2.3", "--in-place")
    assert result.status == exits.FAILED
    assert "there is no signature 1.2.3" in result.err
    assert signed.read_bytes() == before


def test_remove_all_gives_the_original_back(run: Run, signed: Path, signing_node: Node, tmp_path: Path) -> None:
    plain = signing_node.write("plain.dcm", image().read_bytes())
    result = run("signatures", "remove-all", signed, plain, "--out-dir", tmp_path / "out")
    assert result.status == exits.FAILED
    assert "plain.dcm: there is no signature to remove" in result.err
    assert (tmp_path / "out" / "signed.dcm").read_bytes() == image().read_bytes()


def test_an_object_in_question_is_refused_by_every_command_that_changes_it(
    run: Run, signing_node: Node, tmp_path: Path
) -> None:
    plain, signed, target = tmp_path / "plain.dcm", tmp_path / "signed.dcm", tmp_path / "target.dcm"
    plain.write_bytes(encode(report()))
    identity = ("--config", signing_node.config, "--identity", "node")
    run("sign", plain, "-o", signed, *identity)
    wrapped = changed(signed, wrap(CONTENT))
    uid = list_signatures(wrapped)[0].uid
    for command in (
        ("sign", wrapped, "-o", target, *identity),
        ("signatures", "remove", wrapped, "--uid", uid, "-o", target),
        ("signatures", "remove-all", wrapped, "-o", target),
        ("signatures", "ask-timestamp", wrapped, "--query", target),
    ):
        result = run(*command)
        assert result.status == exits.FAILED
        assert "the object may not be what was signed" in result.err
        assert "signature's own Item and replaced: ContentSequence." in result.err
        assert not target.exists()


def test_a_time_stamp_is_fetched_by_hand(run: Run, signed: Path, tmp_path: Path) -> None:
    uid = list_signatures(signed)[1].uid
    query = tmp_path / "ct.tsq"
    unclear = run("signatures", "ask-timestamp", signed, "--query", query)
    assert "Choose one of them with --uid." in unclear.err
    assert run("signatures", "ask-timestamp", signed, "--query", query, "--uid", uid).status == exits.OK
    answer_with_openssl(tmp_path, query)
    result = run("signatures", "add-timestamp", signed, "--query", query, "--in-place")
    assert result.status == exits.OK
    assert "Existed at" in result.said
    assert [one.timestamped for one in list_signatures(signed)] == [False, True]


def test_a_time_stamp_for_something_else_is_refused(run: Run, signed: Path, tmp_path: Path) -> None:
    one, other = (tmp_path / "one.tsq", tmp_path / "other.tsq")
    for query, signature in zip((one, other), list_signatures(signed), strict=True):
        run("signatures", "ask-timestamp", signed, "--query", query, "--uid", signature.uid)
    answer_with_openssl(tmp_path, other)
    shutil.copy(other.with_suffix(".tsr"), one.with_suffix(".tsr"))
    before = signed.read_bytes()
    result = run("signatures", "add-timestamp", signed, "--query", one, "--in-place")
    assert result.status == exits.FAILED
    assert "one.tsr" in result.err
    assert signed.read_bytes() == before


def answer_with_openssl(folder: Path, query: Path) -> None:
    """Play the time stamp authority with `openssl ts`."""
    authority = Authority("TSA CA", key=new_key("rsa2048"))
    stamper = authority.issue(
        "TSA",
        key=new_key("rsa2048", 1),
        usages=("digital_signature",),
        extended=(TIME_STAMPING,),
        extended_critical=True,
    )
    (folder / "tsa.pem").write_bytes(stamper.pem)
    (folder / "tsa.key").write_bytes(stamper.key_pem)
    (folder / "serial").write_text("01")
    (folder / "tsa.cnf").write_text(
        f"[tsa]\ndefault_tsa = t\n[t]\nserial = {folder}/serial\ndefault_policy = 1.2.3\ndigests = sha256\n"
        "signer_digest = sha256\naccuracy = secs:1\nordering = no\ntsa_name = yes\n"
    )
    subprocess.run(
        ["openssl", "ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", query, "-signer", folder / "tsa.pem",
         "-inkey", folder / "tsa.key", "-out", query.with_suffix(".tsr")],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip


def test_purposes_are_listed(run: Run) -> None:
    assert len(run("purposes").out.splitlines()) == len(PURPOSES)
    document = run("purposes", "--json").json
    assert document["purposes"][4] == {"number": 5, "meaning": "Verification Signature"}
