"""`hsm-dicom sign` with a key on a real token: one file, many files, every refusal as a sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.sign import MacName, ProfileName
from hsm_dicom.signatures import MAC_ALGORITHMS, Profile, check_integrity
from hsm_dicom.signatures.listing import list_signatures
from hsm_dicom.signatures.profiles.purposes import PURPOSES
from tests.hsm_dicom.ceremony import certify
from tests.hsm_dicom.cli.conftest import PROGRAM, Node, Run, image, run_program, type_in
from tests.hsm_dicom.dataset.samples import encode, nested_report, structure_set
from tests.pki import DAY, NOW
from tests.softhsm import TestToken, set_pin


@pytest.fixture
def sign(run: Run, signing_node: Node):
    def command(*arguments: object):
        return run("sign", *arguments, "--config", signing_node.config, "--identity", "node")

    return command


@pytest.fixture
def folder(signing_node: Node) -> Path:
    """Three images, one text file, one empty file."""
    place = signing_node.folder / "in"
    (place / "deeper").mkdir(parents=True)
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(image(name), place / name)
    shutil.copy(image("JPEG2000.dcm"), place / "deeper" / "JPEG2000.dcm")
    return place


def test_the_choices_are_those_of_the_library() -> None:
    assert [p.value for p in ProfileName] == [p.value for p in Profile]
    assert {m.value.upper() for m in MacName} == set(MAC_ALGORITHMS)


def test_one_file_is_signed_and_what_was_done_is_told(sign, signing_node: Node) -> None:
    out = signing_node.folder / "signed.dcm"
    result = sign(image(), "-o", out, "--profile", "creator")
    assert result.status == exits.OK
    assert f"{out} is signed." in result.said
    assert "signer CN=Signer node" in result.said
    assert "covers 257 attributes" in result.said
    [signature] = check_integrity(out).signatures
    assert signature.intact
    assert Profile.CREATOR in signature.profiles


def test_key_and_certificate_can_be_named_on_the_spot(run: Run, signing_node: Node, tmp_path: Path) -> None:
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", signing_node.token.uri("node"))
    assert result.status == exits.OK
    wrong = signing_node.write("other.pem", signing_node.ca.issue("Somebody else").pem)
    key = ("--key", signing_node.token.uri("node"), "--cert", wrong)
    refused = run("sign", image(), "-o", tmp_path / "t.dcm", *key)
    assert refused.status == exits.FAILED
    assert "their public keys differ" in refused.err
    assert not (tmp_path / "t.dcm").exists()


def test_json_tells_each_file_and_the_sum(sign, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("not DICOM")
    result = sign(folder, "--out-dir", tmp_path / "out", "--json")
    assert result.status == exits.FAILED
    *files, summary = result.lines
    assert {line["schema"] for line in files} == {"hsm-dicom/sign/1"}
    assert [line["signed"] for line in files].count(True) == 3
    [failure] = [line for line in files if not line["signed"]]
    assert failure["error"]["kind"] == "NotDicomError"
    assert summary["schema"] == "hsm-dicom/sign-summary/1"
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
        assert "is named more than once" in refused.said
    assert file.read_bytes() == before


def test_a_run_with_another_request_is_not_resumed_from_this_one(sign, folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "CT_small.dcm", "--out-dir", tmp_path / "out")
    assert sign(*arguments, "--profile", "none", "--tag", "PatientName").status == exits.OK
    result = sign(*arguments, "--profile", "creator", "--resume", "--jobs", "2")
    assert result.status == exits.FAILED
    assert "its signature covers other elements (1 of them; it would be" in result.err


def test_it_is_said_of_many_files_how_many_dcmsign_will_call_corrupted(sign, folder: Path, tmp_path: Path) -> None:
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
    assert (summary["oddly_padded"], summary["unhashed_by_dcmtk"]) == (1, 1)
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


def test_what_exists_is_replaced_only_on_demand(sign, signing_node: Node) -> None:
    out = signing_node.write("there.dcm", b"precious")
    refused = sign(image(), "-o", out)
    assert refused.status == exits.FAILED
    assert f"{out}: exists already. Name another file, or add --overwrite." in refused.err
    assert out.read_bytes() == b"precious"
    assert sign(image(), "-o", out, "--overwrite").status == exits.OK


def test_tags_items_and_purposes(sign, signing_node: Node, tmp_path: Path) -> None:
    listed = signing_node.write("tags.txt", b"PatientID  # who\n\n0010,0030\n")
    out = tmp_path / "s.dcm"
    arguments = ("--tag", "PatientName", "--tag-file", listed, "--profile", "none", "--purpose", "1")
    assert sign(image(), "-o", out, *arguments).status == exits.OK
    [signature] = list_signatures(out)
    assert signature.tags == (0x00100010, 0x00100020, 0x00100030)
    assert str(signature.purpose) == "Author's Signature (1, ASTM-sigpurpose)"
    item = sign(image(), "-o", tmp_path / "i.dcm", "--item", "OtherPatientIDsSequence[0]")
    assert item.status == exits.OK
    assert "place OtherPatientIDsSequence[0]" in item.said
    assert "Only an Item was signed. Its signature also fits its content in any other object" in item.said


def test_an_sr_is_signed_under_its_profile(sign, tmp_path: Path) -> None:
    out = tmp_path / "sr.dcm"
    assert sign(image("reportsi.dcm"), "-o", out, "--profile", "sr", "--purpose", "1").status == exits.OK
    assert Profile.SR in check_integrity(out).signatures[0].profiles


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tag", "0010,4000"), "is not there"),
        (("--tag", "FFFA,FFFA"), "may never be signed"),
        (("--item", "OtherPatientIDsSequence[9]"), "there is no Item"),
        (("--mac", "sha1"), "to sign with it all the same, add --allow-weak."),
        (("--profile", "sr"), "The profile sr needs a purpose. Add --purpose NUMBER"),
        (("--profile", "sr", "--purpose", "1"), "is no Structured Report"),
        (("--tag-file", "/nowhere/tags"), "/nowhere/tags: No such file"),
    ],
)
def test_each_thing_that_cannot_be_signed_has_its_sentence(
    sign, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = sign(image(), "-o", tmp_path / "s.dcm", *arguments)
    assert result.status == exits.FAILED
    assert words in result.err
    assert not (tmp_path / "s.dcm").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tag", "NoSuchKeyword"), "is neither a tag"),
        (("--tag-file", "bad.txt"), "is neither a tag"),
        (("--tag-file", "latin.txt"), "Invalid value for --tag-file"),
        (("--item", "PatientName"), "does not name an Item"),
        (("--purpose", "0"), "--purpose"),
        (("--purpose", str(max(PURPOSES) + 1)), "--purpose"),
    ],
)
def test_an_option_that_is_misspelt_is_a_usage_error_said_once(
    sign, folder: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "bad.txt").write_text("PatientName\nNoSuchKeyword\n")
    (tmp_path / "latin.txt").write_bytes("# f\u00fcr\n".encode("latin-1"))
    option, value = arguments
    value = str(tmp_path / value) if value.endswith(".txt") else value
    result = sign(folder, "--out-dir", tmp_path / "out", option, value)
    assert result.status == exits.USAGE
    assert result.err.count(words) == 1
    assert not (tmp_path / "out").exists()


def test_a_weak_hash_is_allowed_by_name(sign, tmp_path: Path) -> None:
    assert sign(image(), "-o", tmp_path / "s.dcm", "--mac", "ripemd160", "--allow-weak").status == exits.OK


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-o", "a.dcm", "--in-place"),
        ("-o", "a.dcm", "--key", "pkcs11:object=x"),
    ],
)
def test_an_unclear_command_is_a_usage_error(sign, arguments: tuple[str, ...]) -> None:
    assert sign(image(), *arguments).status == exits.USAGE


def test_two_inputs_with_one_target_are_a_usage_error(sign, folder: Path, tmp_path: Path) -> None:
    result = sign(image(), folder / "CT_small.dcm", "--out-dir", tmp_path / "out")
    assert result.status == exits.USAGE
    assert not (tmp_path / "out").exists()


def test_an_expired_certificate_signs_nothing(run: Run, token: TestToken, signing_node: Node, tmp_path: Path) -> None:
    token.generate("old")
    certify(token, "old", signing_node.ca, ends=NOW - DAY)
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", token.uri("old"))
    assert result.status == exits.FAILED
    assert "expired on" in result.err
    assert not (tmp_path / "s.dcm").exists()


def test_an_ec_key_signs_under_no_profile(run: Run, token: TestToken, signing_node: Node, tmp_path: Path) -> None:
    token.generate("ec", "p256")
    certify(token, "ec", signing_node.ca)
    key = ("--key", token.uri("ec"))
    assert "are for RSA keys" in run("sign", image(), "-o", tmp_path / "s.dcm", *key).err
    assert run("sign", image(), "-o", tmp_path / "s.dcm", *key, "--profile", "none").status == exits.OK


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


def test_an_absent_token_or_key_or_identity_is_named(run: Run, signing_node: Node, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "s.dcm", "--config", signing_node.config)
    assert "No private key on" in run("sign", image(), *out, "--key", signing_node.token.uri("none")).err
    assert "there: node" in run("sign", image(), *out, "--identity", "nobody").err
    absent = run("sign", image(), *out, "--key", "pkcs11:token=absent;object=x")
    assert "No token in" in absent.err


def test_each_signature_is_an_event(sign, signing_node: Node) -> None:
    sign(image(), "-o", signing_node.folder / "s.dcm")
    events = [json.loads(line) for line in (signing_node.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["configuration-read", "login", "key-use", "signature-made"]
    assert events[-1]["signer"] == "CN=Signer node"


def test_a_timestamp_authority_that_is_not_there_leaves_nothing_behind(sign, tmp_path: Path) -> None:
    result = sign(image(), "-o", tmp_path / "s.dcm", "--timestamp", "http://127.0.0.1:9/tsr")
    assert result.status == exits.FAILED
    assert "No time stamp from" in result.err
    assert list(tmp_path.glob("*.dcm")) == []


def test_a_pin_that_is_configured_nowhere_is_asked_for_on_the_terminal(signing_node: Node, tmp_path: Path) -> None:
    config = signing_node.config
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("pin")))
    out = tmp_path / "s.dcm"
    pin = os.environ[signing_node.token.pin.removeprefix("env:")]
    arguments = ("sign", image(), "-o", out, "--config", config, "--identity", "node")
    typed = type_in(arguments, [("user PIN of token 'signing node'", pin)])
    assert typed.status == exits.OK
    assert pin not in typed.out
    assert run_program(*arguments).status == exits.FAILED


def test_as_a_program(signing_node: Node, tmp_path: Path) -> None:
    out = tmp_path / "s.dcm"
    arguments = ("sign", image(), "-o", out, "--config", signing_node.config, "--identity", "node", "--jobs", "2")
    assert run_program(*arguments).status == exits.OK
    assert check_integrity(out).signatures[0].intact


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
    assert complained.strip() == "hsm-dicom: interrupted; --resume continues from here."
    written = list(out.iterdir())
    assert 0 < len(written) < 2000
    assert all(path.suffix == ".dcm" and len(list_signatures(path)) == 1 for path in written)


def test_an_image_without_pixels_or_with_a_broken_sequence_is_refused(sign, tmp_path: Path) -> None:
    content = image().read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OW")
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(content[: at + 8] + bytes(4))
    refused = sign(empty, "-o", tmp_path / "s.dcm")
    assert refused.status == exits.FAILED
    assert "an image without pixels is not signed" in refused.err
    at = content.index(b"\x10\x00\x02\x10SQ")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(content[: at + 8] + b"\xff\xff\xff\x7f" + content[at + 12 :])
    result = sign(broken, "-o", tmp_path / "s.dcm")
    assert result.status == exits.FAILED
    assert result.err.count("\n") == 1
    assert "OtherPatientIDsSequence" in result.err or "(0010,1002)" in result.err
