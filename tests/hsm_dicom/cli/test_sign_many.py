"""`sign` for many files: each result, what is resumed, what is left alone, what an interruption leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from hsm_dicom.cli import exits
from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.listing import list_signatures
from tests.hsm_dicom.cli.conftest import PROGRAM, Node, Run, image, type_in
from tests.hsm_dicom.dataset.samples import encode, nested_report, structure_set
from tests.softhsm import set_pin


def test_json_tells_each_file_and_the_sum(sign, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("not DICOM")
    result = sign(folder, "--out-dir", tmp_path / "out", "--json")
    assert result.status == exits.FAILED
    *files, summary = result.lines
    assert {line["schema"] for line in files} == {"hsm-dicom/sign/2"}
    assert [line["signed"] for line in files].count(True) == 3
    [failure] = [line for line in files if not line["signed"]]
    assert failure["error"]["kind"] == "NotDicomError"
    assert summary["schema"] == "hsm-dicom/sign-summary/2"
    assert (summary["signed"], summary["failed"]) == (3, 1)


def test_a_folder_keeps_its_structure_and_one_bad_file_stops_nothing(sign, folder: Path, tmp_path: Path) -> None:
    (folder / "empty.dcm").touch()
    (folder / "cut.dcm").write_bytes(image().read_bytes()[:20000])
    result = sign(folder, tmp_path / "vanished.dcm", "--out-dir", tmp_path / "out", "--jobs", "2")
    assert result.status == exits.FAILED
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.dcm")) == [
        "CT_small.dcm",
        "MR_small.dcm",
        "deeper/JPEG2000.dcm",
    ]
    complaints = result.err.splitlines()
    assert len(complaints) == 3
    assert any("empty.dcm: the file is empty" in line for line in complaints)
    assert any("cut.dcm: " in line for line in complaints)
    assert any("vanished.dcm: cannot be opened" in line for line in complaints)
    assert "3 files signed, 3 failed" in result.said


def test_a_run_is_taken_up_where_it_ended(sign, folder: Path, tmp_path: Path) -> None:
    arguments = (folder, "--out-dir", tmp_path / "out", "--resume")
    sign(folder / "CT_small.dcm", "--out-dir", tmp_path / "out")
    result = sign(*arguments)
    assert result.status == exits.OK
    assert "2 files signed, 1 signed before" in result.said
    assert "no files signed, 3 signed before" in sign(*arguments).said
    assert all(len(list_signatures(path)) == 1 for path in (tmp_path / "out").rglob("*.dcm"))


def test_a_name_that_was_used_again_is_a_conflict_and_no_image_is_lost(sign, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (folder, "--out-dir", out, "--resume")
    assert sign(*arguments).status == exits.OK
    before = (out / "CT_small.dcm").read_bytes()
    shutil.copy(image("MR_small.dcm"), folder / "CT_small.dcm")
    shutil.copy(image("MR_small.dcm"), folder / "new.dcm")
    result = sign(*arguments)
    assert result.status == exits.FAILED
    assert "1 file signed, 2 signed before, 1 failed" in result.said
    [complaint] = result.err.splitlines()
    assert f"CT_small.dcm: {out / 'CT_small.dcm'} exists, but it is not this file" in complaint
    assert "another object (SOP Instance UID 1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322 instead of" in complaint
    assert "replace it with --overwrite" in complaint
    assert (out / "CT_small.dcm").read_bytes() == before
    assert check_integrity(out / "new.dcm").signatures[0].intact
    assert sign(*arguments, "--overwrite").status == exits.OK
    assert sign(*arguments).status == exits.OK


def test_a_file_that_is_named_twice_is_not_signed_in_place(sign, folder: Path, tmp_path: Path) -> None:
    file, link = folder / "CT_small.dcm", tmp_path / "link.dcm"
    link.symlink_to(file)
    before = file.read_bytes()
    for again in (folder, file, link):
        refused = sign(file, again, "--in-place")
        assert refused.status == exits.USAGE
        assert "is given more than once" in refused.said
    assert file.read_bytes() == before


def test_a_run_with_another_request_is_not_resumed_from_this_one(sign, folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "CT_small.dcm", "--out-dir", tmp_path / "out")
    assert sign(*arguments, "--profile", "none", "--tag", "PatientName").status == exits.OK
    result = sign(*arguments, "--profile", "creator", "--resume", "--jobs", "2")
    assert result.status == exits.FAILED
    assert "its signature covers other elements (1 of them; it would be" in result.err


def test_a_run_reports_how_many_files_dcmsign_will_call_corrupted(sign, folder: Path, tmp_path: Path) -> None:
    (folder / "report.dcm").write_bytes(encode(nested_report(500)))
    shutil.copy(image("examples_ybr_color.dcm"), folder / "padded.dcm")
    result = sign(folder, "--out-dir", tmp_path / "out")
    assert result.status == exits.OK
    assert "5 files signed" in result.said
    assert "1 file signed with surplus padding in strings: DCMTK's dcmsign will call it corrupted" in result.said
    assert "1 file signed that DCMTK's dcmsign 3.6.7 will call corrupted: it leaves parts of long" in result.said
    assert "add --trim-padding" in result.said
    trimmed = sign(folder, "--out-dir", tmp_path / "trimmed", "--trim-padding")
    assert "5 files signed" in trimmed.said
    assert "1 file signed as a clean copy." in trimmed.said
    assert "surplus padding in strings" not in trimmed.said
    assert "padded.dcm: a clean copy was signed: " in trimmed.err
    assert sign(folder, "--in-place", "--trim-padding").status == exits.USAGE
    *files, summary = sign(folder, "--out-dir", tmp_path / "json", "--json").lines
    assert (summary["overpadded"], summary["unhashed_by_dcmtk"]) == (1, 1)
    assert {one["octets_unhashed_by_dcmtk"] for one in files} == {0, 24782}
    one = sign(folder / "report.dcm", "-o", tmp_path / "one.dcm").said
    assert "DCMTK's dcmsign 3.6.7 leaves 24,782 octets of nested sequences out of its hash" in one


def test_content_that_cannot_be_signed_is_refused_counted_and_named(sign, folder: Path, tmp_path: Path) -> None:
    (folder / "rt.dcm").write_bytes(encode(structure_set(4000), "implicit"))
    arguments = (folder, "--out-dir", tmp_path / "out", "--profile", "creator", "--resume")
    refused = sign(*arguments)
    assert refused.status == exits.FAILED
    assert "3 files signed, 1 failed" in refused.said
    assert "rt.dcm: its identity or content would not be covered. (3006,0039) ROIContourSequence" in refused.err
    assert refused.err.rstrip().endswith("add --allow-uncovered.")
    allowed = sign(*arguments, "--allow-uncovered")
    assert allowed.status == exits.OK
    assert "1 file signed, 3 signed before" in allowed.said
    assert "rt.dcm: signed, but the signature does not cover ROIContourSequence." in allowed.err
    shutil.rmtree(tmp_path / "out")
    many = sign(*arguments, "--allow-uncovered")
    assert "4 files signed" in many.said
    assert "1 file signed without all of identity and content." in many.said
    shutil.rmtree(tmp_path / "out")
    *files, summary = sign(*arguments, "--allow-uncovered", "--json").lines
    assert (summary["uncovered"], summary["incomplete"]) == (1, 1)
    [rt] = [line for line in files if line["file"].endswith("rt.dcm")]
    assert rt["elements_uncovered"] == ["(3006,0039)"]


def test_a_file_that_others_read_is_signed_as_a_clean_copy(sign, folder: Path, tmp_path: Path) -> None:
    content = (folder / "CT_small.dcm").read_bytes()
    (folder / "bad.dcm").write_bytes(content[132:])
    (folder / "hopeless.dcm").write_bytes(content[:9000])
    arguments = (folder, "--out-dir", tmp_path / "out")
    refused = sign(*arguments, "--jobs", "2")
    assert refused.status == exits.FAILED
    [complaint] = [line for line in refused.err.splitlines() if "bad.dcm" in line]
    assert complaint.endswith("the prefix DICM of PS3.10 is missing. To sign a clean copy of it, add --repair.")
    [hopeless] = [line for line in refused.err.splitlines() if "hopeless.dcm" in line]
    assert "--repair" not in hopeless
    result = sign(*arguments, "--repair", "--resume")
    assert "1 file signed, 3 signed before, 1 failed" in result.said
    assert "1 file signed as a clean copy." in result.said
    assert (
        f"{folder / 'bad.dcm'}: a clean copy was signed: the preamble of 128 octets and the prefix DICM were missing "
        "and were added."
    ) in result.err
    assert "hopeless.dcm: " in result.err
    assert "The file cannot be repaired: " in result.err
    assert check_integrity(tmp_path / "out" / "bad.dcm").signatures[0].intact
    assert (folder / "bad.dcm").read_bytes() == content[132:]
    again = sign(*arguments, "--repair", "--resume", "--json")
    assert again.lines[-1]["skipped"] == 4
    one = sign(folder / "bad.dcm", "-o", tmp_path / "x.dcm", "--repair", "--json")
    assert one.lines[0]["repaired"] == ["the preamble of 128 octets and the prefix DICM were missing and were added"]
    assert sign(folder / "bad.dcm", "--in-place", "--repair").status == exits.USAGE


def test_in_place_adds_a_second_signature_unless_resumed(sign, folder: Path) -> None:
    ct = folder / "CT_small.dcm"
    assert sign(ct, "--in-place").status == exits.OK
    assert sign(ct, "--in-place").status == exits.OK
    assert len(list_signatures(ct)) == 2
    sign(ct, "--in-place", "--resume")
    assert len(list_signatures(ct)) == 2


def test_two_inputs_with_one_target_are_a_usage_error(sign, folder: Path, tmp_path: Path) -> None:
    result = sign(image(), folder / "CT_small.dcm", "--out-dir", tmp_path / "out")
    assert result.status == exits.USAGE
    assert not (tmp_path / "out").exists()


def test_a_wrong_pin_stops_the_whole_batch_at_its_first_use(run: Run, signing_node: Node, folder: Path) -> None:
    arguments = ("--config", signing_node.config, "--identity", "node", "--pin", set_pin("not the pin"))
    token = signing_node.token
    try:
        result = run("sign", folder, "--out-dir", folder.parent / "out", *arguments)
        assert result.status == exits.REFUSED
        assert result.err.count("was refused by") == 1
        assert not (folder.parent / "out").exists()
    finally:
        # The token is shared: one good login, typed, resets its counter.
        type_in(["token", "login", token.uri(pin=False)], [("PIN", os.environ[token.pin.removeprefix("env:")])])


def test_an_interrupted_run_says_what_was_done_and_leaves_whole_files(signing_node: Node, tmp_path: Path) -> None:
    many, out = tmp_path / "many", tmp_path / "out"
    many.mkdir()
    content = image().read_bytes()
    for number in range(2000):
        (many / f"{number}.dcm").write_bytes(content)
    arguments = ("sign", many, "--out-dir", out, "--config", signing_node.config, "--identity", "node", "--jobs", "2")
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (out.exists() and any(out.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    # To the whole group, as Ctrl-C on a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "files signed in" in said
    assert complained.strip() == "hsm-dicom: interrupted; run the command again with --resume to continue."
    written = list(out.iterdir())
    assert 0 < len(written) < 2000
    assert all(path.suffix == ".dcm" and len(list_signatures(path)) == 1 for path in written)
