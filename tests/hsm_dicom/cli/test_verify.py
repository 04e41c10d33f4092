"""`hsm-dicom verify`: exit statuses, words, JSON. (What makes a verdict is tested with `hsm_dicom.signatures`.)"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from pydicom import dcmread

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.verify import RequirementName
from hsm_dicom.validation.policies.policy import Requirement
from hsm_dicom.validation.validator import Outcome
from tests.hsm_dicom.cli.conftest import Node, Run, image, run_program, type_in
from tests.hsm_dicom.dataset.samples import bare_copy


@pytest.fixture
def signed(run: Run, signing_node: Node) -> Path:
    """A CT signed under the Creator profile, and the CA's CRL beside it."""
    out = signing_node.folder / "signed.dcm"
    source = bare_copy(image(), signing_node.folder / "source.dcm")
    run("sign", source, "-o", out, "--config", signing_node.config, "--identity", "node", "--profile", "creator")
    signing_node.write("ca.crl", signing_node.ca.crl())
    return out


@pytest.fixture
def verify(run: Run, signing_node: Node):
    def command(*arguments: object):
        crl = signing_node.folder / "ca.crl"
        return run("verify", *arguments, "--trust", signing_node.trust, *(("--crl", crl) if crl.exists() else ()))

    return command


def forge(signed: Path, old: bytes, new: bytes) -> Path:
    """The signed file with one place changed."""
    content = signed.read_bytes()
    assert content.count(old) >= 1
    forged = signed.with_name("forged.dcm")
    forged.write_bytes(content.replace(old, new, 1))
    return forged


def test_the_choices_and_statuses_are_those_of_the_library() -> None:
    assert [r.value for r in RequirementName] == [r.value for r in Requirement]
    statuses = {exits.OK, exits.FAILED, exits.NO_SIGNATURE, exits.BAD_SIGNATURE, exits.POLICY_NOT_MET}
    assert {outcome.exit_status for outcome in Outcome} == statuses


def test_a_good_signature_is_reported_in_full(verify, signed: Path) -> None:
    result = verify(signed)
    assert result.status == exits.OK
    said = result.said
    assert "✓ valid signature 2.25." in said
    assert "signer CN=Signer node (trusted)" in said
    assert "issued by CN=Hospital CA" in said
    assert "UTC, by the signer's clock" in said
    assert "place the whole object hash SHA256 meets base, creator" in said
    assert "covers 257 elements, pixel data, picture, geometry, patient, study, series, SOP instance" in said
    assert "CompressedSamples, CT1 (1CT1) · CT · 2004-01-19" in said


def test_one_changed_byte_is_refused(verify, signed: Path) -> None:
    result = verify(forge(signed, b"CompressedSamples", b"DompressedSamples"))
    assert result.status == exits.BAD_SIGNATURE
    assert "✗ invalid, because what is covered is not what was signed" in result.said
    assert "covers" not in result.out.replace("what is covered", "")


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_library_thinks_of_a_certificate_is_for_the_log(signed: Path, jobs: int) -> None:
    """A negative serial number, which RFC 5280 forbids and old CAs gave, is one that `cryptography` warns of."""
    [signature] = dcmread(signed).DigitalSignaturesSequence
    serial = x509.load_der_x509_certificate(signature.CertificateOfSigner).serial_number.to_bytes(2)
    forged = forge(signed, b"\2\2" + serial, b"\2\2" + bytes([serial[0] | 0x80]) + serial[1:])
    told = run_program("verify", forged, forged, "--jobs", jobs)
    assert (told.status, told.err) == (exits.BAD_SIGNATURE, "")
    assert "serial number which wasn't positive" in run_program("verify", forged, "--verbose").err


def test_without_trust_who_signed_is_indeterminate(run: Run, signed: Path) -> None:
    result = run("verify", signed)
    assert result.status == exits.BAD_SIGNATURE
    assert "? cannot tell who signed, because no trust anchors were given" in result.said
    assert "Give the CA of the signers with --trust, or in anchors of [trust]." in result.said


def test_a_file_without_signature_is_100(verify) -> None:
    result = verify(image())
    assert result.status == exits.NO_SIGNATURE
    assert "Not signed" in result.said


def test_what_is_required_and_not_there_is_102(verify, signed: Path, signing_node: Node) -> None:
    assert verify(signed, "--require", "creator").status == exits.OK
    missing = verify(signed, "--require", "timestamp")
    assert missing.status == exits.POLICY_NOT_MET
    assert "The policy is not met: No valid signature" in missing.said
    policy = signing_node.write("policy.toml", b'require = ["sr"]\n')
    assert verify(signed, "--policy", policy).status == exits.POLICY_NOT_MET
    misspelt = signing_node.write("policy.toml", b'requires = ["sr"]\n')
    refused = verify(signed, "--policy", misspelt)
    assert refused.status == exits.FAILED
    assert "Did you mean 'require'?" in refused.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"just text", "not a DICOM file"),
    ],
)
def test_a_bad_file_is_named_and_the_others_go_on(
    verify, signed: Path, signing_node: Node, content: bytes, words: str
) -> None:
    bad = signing_node.write("bad.dcm", content)
    result = verify(bad, signed, signing_node.folder / "vanished.dcm")
    assert result.status == exits.FAILED
    assert f"hsm-dicom: {bad}: {words}" in result.err
    assert "vanished.dcm: cannot be opened" in result.err
    assert "1 file with valid signatures only" in result.said
    assert "2 files could not be read" in result.said


def test_the_worst_of_many_files_decides(verify, signed: Path) -> None:
    forged = forge(signed, b"CompressedSamples", b"DompressedSamples")
    unmet = verify(signed, "--brief", "--require", "timestamp").said
    assert re.search(r": valid(, but [^.]*)?\. No valid signature has a valid time stamp\.", unmet)
    result = verify(signed, forged, image(), "--brief")
    assert result.status == exits.BAD_SIGNATURE
    assert f"✓ {signed}: valid" in result.said
    assert f"✗ {forged}: invalid" in result.said
    assert "1 file without a signature" in result.said


def test_many_files_are_brief_and_can_be_shared_out(verify, signed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        shutil.copy(signed, folder / f"{number}.dcm")
    result = verify(folder, "--jobs", "2")
    assert result.status == exits.OK
    assert "12 files with valid signatures only" in result.said
    assert "signer" not in result.out


def test_an_empty_folder_shows_nothing_and_fails(verify, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty").status == exits.FAILED


def test_json_lines_for_programs(verify, signed: Path) -> None:
    result = verify(signed, image(), "--json")
    assert result.status == exits.NO_SIGNATURE
    first, second, summary = result.lines
    assert first["schema"] == "hsm-dicom/verify/2"
    assert (first["outcome"], second["outcome"]) == ("good", "no-signature")
    [signature] = first["signatures"]
    assert signature["verdict"] == "valid"
    assert "creator" in signature["profiles"]
    assert summary["schema"] == "hsm-dicom/verify-summary/1"
    assert summary["exit_status"] == exits.NO_SIGNATURE
    assert summary["outcomes"]["good"] == 1


def test_a_run_is_taken_up_where_it_ended(verify, signed: Path, signing_node: Node, tmp_path: Path) -> None:
    import time

    time.sleep(1.1)  # a verdict of the very second in which a file was written is not relied on
    results = signing_node.write("results.jsonl", verify(signed, image(), "--json").out.encode())
    again = verify(signed, image(), "--resume", results, "--json")
    assert [line["schema"] for line in again.lines] == ["hsm-dicom/verify-summary/1"]
    assert again.status == exits.NO_SIGNATURE  # what was found before still counts
    signed.touch()
    assert [line.get("file") for line in verify(signed, "--resume", results, "--json").lines] == [str(signed), None]
    odd = signing_node.write("odd.jsonl", b'{"schema": "hsm-dicom/verify/2"}\n')
    assert "is not what hsm-dicom verify --json writes" in verify(signed, "--resume", odd).err


def test_a_verdict_stands_only_for_the_same_file_and_the_same_demands(
    run: Run, verify, signed: Path, signing_node: Node, tmp_path: Path
) -> None:
    import time

    folder, other = tmp_path / "day", tmp_path / "other"
    folder.mkdir()
    shutil.copy(signed, folder / "ct.dcm")
    other.mkdir()
    forge(signed, b"CompressedSamples", b"CompressedSumples").rename(other / "ct.dcm")
    time.sleep(1.1)  # a verdict of the very second in which a file was written is not relied on
    results = signing_node.write("results.jsonl", verify(folder, "--json").out.encode())
    assert "(1 of them before)" in verify(folder, "--resume", results).said
    assert verify(folder, "--resume", results, "--require", "timestamp").status == exits.POLICY_NOT_MET
    assert run("verify", folder, "--resume", results).status == exits.BAD_SIGNATURE  # nobody is trusted now
    folder.rename(tmp_path / "old")
    other.rename(folder)
    assert verify(folder, "--resume", results).status == exits.BAD_SIGNATURE


def test_a_verdict_of_the_future_does_not_stand(verify, signed: Path, signing_node: Node) -> None:
    document = json.loads(verify(signed, "--json").out.splitlines()[0])
    document["validated_at"] = "2999-01-01T00:00:00Z"
    results = signing_node.write("results.jsonl", json.dumps(document).encode())
    assert len(verify(signed, "--resume", results, "--json").lines) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b'{"schema": "hsm-dicom/verify/2", "file": ["x"], "validated_at": "2026-01-01T00:00:00Z", "outcome": "good"}',
        b'{"schema": "hsm-dicom/verify/2", "file": "x", '
        b'"validated_at": "0001-01-01T00:00:00+23:00", "outcome": "good"}',
        b'{"schema": "hsm-dicom/verify/2", "file": "x", '
        b'"validated_at": "9999-12-31T23:59:59-23:00", "outcome": "good"}',
    ],
)
def test_what_is_no_output_of_a_run_is_refused(verify, signed: Path, signing_node: Node, line: bytes) -> None:
    refused = verify(signed, "--resume", signing_node.write("odd.jsonl", line + b"\n"))
    assert refused.status == exits.FAILED
    assert "odd.jsonl:1: is not what hsm-dicom verify --json writes" in refused.err


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"schema": "hsm-dicom/ver'])
def test_lines_that_are_no_json_are_passed_over(verify, signed: Path, signing_node: Node, line: bytes) -> None:
    assert verify(signed, "--resume", signing_node.write("cut.jsonl", line + b"\n")).status == exits.OK


def test_the_byte_stream_is_dumped_under_the_signatures_uid(verify, signed: Path, tmp_path: Path) -> None:
    verify(signed, "--dump-mac", tmp_path / "dump")
    [dump] = (tmp_path / "dump").iterdir()
    assert dump.name.startswith("2.25.")
    assert dump.read_bytes().startswith(b"\x08\x00\x05\x00CS")


def test_each_verdict_is_an_event(run: Run, signed: Path, signing_node: Node) -> None:
    run("verify", signed, "--trust", signing_node.trust, "--config", signing_node.config)
    last = json.loads((signing_node.folder / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["verdict"]) == ("signature-validated", "valid, but")


def test_an_unreadable_ca_file_is_named(run: Run, signed: Path, signing_node: Node) -> None:
    result = run("verify", signed, "--trust", signing_node.write("x.pem", b"no certificate"))
    assert result.status == exits.FAILED
    assert "x.pem" in result.err


def test_a_name_that_plays_tricks_is_shown_harmlessly(verify, signed: Path, tmp_path: Path) -> None:
    tricky = tmp_path / "a\x1b[2Jb\nok.dcm"
    shutil.copy(signed, tricky)
    result = verify(tricky)
    assert "\x1b" not in result.out
    assert "\\x1b[2Jb\\nok.dcm" in result.out


def test_as_a_program_with_narrow_columns(signed: Path, signing_node: Node) -> None:
    result = type_in(["verify", signed, "--trust", signing_node.trust], [], columns=60)
    assert result.status == exits.OK
    out = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", result.out)
    lines = [line for line in out.splitlines() if str(signed) not in line]
    assert max(map(len, lines)) <= 60


def test_one_page_for_people(verify, signed: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert verify(signed, image(), "--html", page).status == exits.NO_SIGNATURE
    text = page.read_text()
    assert "CN=Signer node" in text
    assert str(image()) in text
    refused = verify(signed, "--html", tmp_path / "no" / "folder.html")
    assert refused.status == exits.FAILED
    assert "the report cannot be written" in refused.err
    assert "✓ valid" in refused.out


def test_a_questionable_signature_has_a_sign_and_a_status_of_its_own(verify, run: Run, signing_node: Node) -> None:
    partial = signing_node.folder / "partial.dcm"
    source = bare_copy(image(), signing_node.folder / "source.dcm")
    node = ("--config", signing_node.config, "--identity", "node")
    assert run("sign", source, "-o", partial, *node, "--tag", "PatientID", "--tag", "PixelData").status == exits.OK
    signing_node.write("ca.crl", signing_node.ca.crl())
    block = verify(partial, "--require", "any")
    assert block.status == 102
    assert (
        "! questionable, because the picture is not covered: Rows, Columns, PhotometricInterpretation and" in block.said
    )
    assert "covers 2 elements, pixel data not covered picture, geometry, patient, study, series" in block.said
    assert "✗ The policy is not met: There is no valid signature over the main Data Set." in block.said
    assert block.said.count("the picture is not covered") == 1, "no reason is told twice"
    brief = verify(partial, "--brief")
    assert brief.said.startswith("! ")
    assert "questionable, because the picture is not covered" in brief.said
