"""`hsm-dicom sign` with a key on a real token: one file, many files, every refusal as a sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from hsm_dicom.cli.commands.sign import MacName, ProfileName
from hsm_dicom.signatures import MAC_ALGORITHMS, Profile, check_integrity
from hsm_dicom.signatures.listing import list_signatures
from hsm_dicom.signatures.profiles.purposes import PURPOSES
from tests.hsm_dicom.ceremony import certify
from tests.hsm_dicom.cli.conftest import Node, Run, image, run_program, type_in
from tests.pki import DAY, NOW
from tests.softhsm import TestToken


def test_the_choices_are_those_of_the_library() -> None:
    assert [p.value for p in ProfileName] == [p.value for p in Profile]
    assert {m.value.upper() for m in MacName} == set(MAC_ALGORITHMS)


def test_one_file_is_signed_and_what_was_done_is_reported(sign, signing_node: Node) -> None:
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


def test_what_exists_is_replaced_only_on_demand(sign, signing_node: Node) -> None:
    out = signing_node.write("there.dcm", b"precious")
    refused = sign(image(), "-o", out)
    assert refused.status == exits.FAILED
    assert f"{out}: exists already. Choose another file, or add --overwrite." in refused.err
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
        (("--mac", "sha1"), "to sign with it nevertheless, add --allow-weak."),
        (("--profile", "sr"), "The profile sr needs a purpose. Add --purpose NUMBER"),
        (("--profile", "sr", "--purpose", "1"), "is not a Structured Report"),
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


def test_a_weak_hash_is_allowed_explicitly(sign, tmp_path: Path) -> None:
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
