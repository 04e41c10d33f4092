"""`hsm-dicom verify` with the trust and the policies of the configuration, and what it shows of long runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, ObjectClass
from pydicom import dcmread

from hsm_dicom.cli import exits
from hsm_dicom.cli.runs import verifying
from hsm_dicom.signatures import SigningRequest, sign
from tests.hsm_dicom.cli.conftest import Node, Run, image
from tests.hsm_dicom.dataset.samples import bare_copy
from tests.pki import new_key
from tokens import open_token
from tokens.pkcs11.certificates import import_certificates
from tokens.pkcs11.connections import SharedConnection

POLICIES = """
[policies.creator]
require = ["creator"]

[policies.tomography]
otherwise = "accept"
[[policies.tomography.rules]]
when = { modalities = ["CT"], calling_ae_titles = ["CT1"] }
require = ["timestamp"]
"""


@pytest.fixture
def site(run: Run, signing_node: Node) -> Node:
    """A node with a signed file, whose configuration has [trust] and policies."""
    source = bare_copy(image(), signing_node.folder / "source.dcm")
    out = signing_node.folder / "signed.dcm"
    done = run("sign", source, "-o", out, "--config", signing_node.config, "--identity", "node", "--profile", "creator")
    assert done.status == exits.OK, done.said
    text = signing_node.config.read_text()
    signing_node.config.write_text(f'{text}\n[trust]\nanchors = ["{signing_node.trust}"]\n{POLICIES}')
    return signing_node


def signed(site: Node) -> Path:
    return site.folder / "signed.dcm"


def test_the_trust_of_the_configuration_is_used_and_named(run: Run, site: Node) -> None:
    result = run("verify", signed(site), "--config", site.config)
    assert result.status == exits.OK
    assert f"Trust anchors of [trust] in {site.config}: CN=Hospital CA" in result.said
    assert "signer CN=Signer node (trusted)" in result.said
    as_json = run("verify", signed(site), "--config", site.config, "--json")
    summary = as_json.lines[-1]
    assert (summary["configuration"], summary["trust_anchors"]) == (str(site.config), ["CN=Hospital CA"])


def test_trust_on_the_command_line_replaces_that_of_the_configuration(run: Run, site: Node) -> None:
    other = site.write("other.pem", site.ca.crl())
    assert run("verify", signed(site), "--config", site.config, "--trust", other).status == exits.FAILED
    result = run("verify", signed(site), "--config", site.config, "--trust", site.trust)
    assert result.status == exits.OK
    assert "Trust anchors of [trust]" not in result.said
    assert (
        run("verify", signed(site), "--config", site.config, "--trust", site.trust, "--json").lines[-1]["configuration"]
        is None
    )


def test_a_policy_is_chosen_by_name_or_by_path(run: Run, site: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.folder)
    named = run("verify", signed(site), "--config", site.config, "--policy", "creator", "--json")
    assert (named.status, named.lines[0]["policy"], named.lines[-1]["policy"]) == (exits.OK, "creator", "creator")
    assert "policy creator" in run("verify", signed(site), "--config", site.config, "--policy", "creator").said
    site.write("strict.toml", b'require = ["timestamp"]\n')
    assert run("verify", signed(site), "--config", site.config, "--policy", "strict.toml").status == 102
    site.write("strict", b'require = ["timestamp"]\n')
    unknown = run("verify", signed(site), "--config", site.config, "--policy", "strict")
    assert unknown.status == exits.FAILED
    assert "has no policy 'strict'; its policies: creator, tomography" in unknown.err
    assert "for the file of this name, write ./strict" in unknown.err
    assert run("verify", signed(site), "--config", site.config, "--policy", "./strict").status == 102
    site.write("never.toml", b'require = ["creator"]\nkey_types = ["ec"]\n')
    never = run("verify", signed(site), "--config", site.config, "--policy", "never.toml")
    assert never.status == exits.FAILED
    assert "never.toml: key_types: No object can meet this policy: the profile creator is for RSA keys" in never.err


def test_rules_can_be_tried_as_if_an_ae_title_had_sent_the_object(run: Run, site: Node) -> None:
    options = ("--config", site.config, "--policy", "tomography")
    accepted = run("verify", signed(site), image(), *options)
    assert accepted.status == exits.OK
    assert "2 files of which the policy asks no signature" in accepted.said
    judged = run("verify", signed(site), *options, "--calling-ae-title", "CT1")
    assert judged.status == exits.POLICY_NOT_MET
    assert "✗ The policy is not met: No valid signature has a valid time stamp." in judged.said
    assert "Have it time-stamped: hsm-dicom signatures ask-timestamp." in judged.said
    (one, _) = run("verify", signed(site), *options, "--calling-ae-title", "CT1", "--json").lines
    assert (one["rule"], [demand["code"] for demand in one["unmet"]]) == ("rule 1", ["no-timestamp"])


@pytest.fixture
def day(site: Node) -> Path:
    """A folder with 20 good files, and six that are not."""
    folder = site.folder / "day"
    folder.mkdir()
    for number in range(20):
        shutil.copy(signed(site), folder / f"{number:02}.dcm")
    content = signed(site).read_bytes()
    for number in range(3):
        altered = content.replace(b"CompressedSamples", b"DompressedSamples", 1)
        (folder / f"altered-{number}.dcm").write_bytes(altered)
        shutil.copy(image(), folder / f"unsigned-{number}.dcm")
    return folder


def test_the_end_of_a_long_run_lists_the_files_that_are_not_good(
    run: Run, site: Node, day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run("verify", day, "--config", site.config).out
    _, _, end = out.partition("Files that are not good: 6\n")
    lines = end.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"✗ {day}/altered-0.dcm: Invalid, because")
    assert lines[-1].startswith(f"✗ {day}/unsigned-2.dcm: Not signed")
    assert "20 files with valid signatures only" in out
    monkeypatch.setattr(verifying, "LISTED_PROBLEMS", 2)
    out = run("verify", day, "--config", site.config).out
    assert out.endswith("and 4 more; --only problems shows all of them.\n")


def test_only_problems_leaves_out_the_good_files(run: Run, site: Node, day: Path) -> None:
    result = run("verify", day, "--config", site.config, "--only", "problems")
    assert result.status == exits.BAD_SIGNATURE
    assert result.said.count("✗") == 8  # six files, and two counts
    assert "✓ 20 files with valid signatures only" in result.said
    assert "not good" not in result.said
    lines = run("verify", day, "--config", site.config, "--only", "problems", "--only", "alt*", "--json").lines
    assert [Path(line["file"]).name for line in lines[:-1]] == [f"altered-{number}.dcm" for number in range(3)]
    assert lines[-1]["outcomes"]["signature-failed"] == 3
    assert "--only takes one PATTERN" in run("verify", day, "--only", "a*", "--only", "b*").err


def test_the_page_and_the_resume_key_are_those_of_the_policy(run: Run, site: Node, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run("verify", signed(site), "--config", site.config, "--policy", "tomography", "--html", page)
    assert done.status == exits.OK, done.said
    text = page.read_text()
    assert "Policy tomography, rule 1" in text
    assert "For modality CT, calling AE title CT1." in text
    assert "Objects for which no rule is: accepted without a demand." in text
    keys = [
        run("verify", signed(site), "--config", site.config, "--json", *more).lines[0]["resume_key"]
        for more in ((), ("--policy", "creator"), ("--policy", "tomography"), ("--trust", site.trust))
    ]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


@pytest.fixture
def department(site: Node) -> Path:
    """A file signed by somebody of a CA below the hospital's, whose certificate nobody gave."""
    below = site.ca.authority("Department CA", key=new_key("rsa2048", 10))
    site.write("department.pem", below.pem)
    signer = below.issue("Reader", key=new_key("rsa2048", 11))
    target = site.folder / "department.dcm"
    sign(site.folder / "source.dcm", target, signer.key, SigningRequest(signer.der))
    return target


def test_a_missing_intermediate_is_named(run: Run, site: Node, department: Path) -> None:
    result = run("verify", department, "--config", site.config)
    assert result.status == exits.BAD_SIGNATURE
    assert "The certificate of its issuer CN=Department CA is neither among the trust anchors" in result.said
    assert "Give the certificates between the signer's and the CA's with --intermediate" in result.said
    (one, _) = run("verify", department, "--config", site.config, "--json").lines
    assert one["signatures"][0]["etsi"] == {
        "indication": "INDETERMINATE",
        "sub_indication": "NO_CERTIFICATE_CHAIN_FOUND",
    }
    given = run("verify", department, "--config", site.config, "--intermediate", site.folder / "department.pem")
    assert given.status == exits.OK


def test_the_chain_beside_an_identity_completes_that_of_a_signer(run: Run, site: Node, department: Path) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace('object = "node"\n', 'object = "node"\nchain = "department.pem"\n'))
    assert run("verify", department, "--config", site.config).status == exits.OK


def test_the_chain_on_a_token_completes_that_of_a_signer_without_a_pin(
    run: Run, site: Node, department: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = x509.load_der_x509_certificate(dcmread(signed(site)).DigitalSignaturesSequence[0].CertificateOfSigner)
    above = x509.load_pem_x509_certificate((site.folder / "department.pem").read_bytes())
    with open_token(site.token.uri()) as connection:
        import_certificates(connection, site.token.uri("node"), [own, above])
    try:
        pin = re.sub(r'(?m)^pin *= *".*"$', 'pin = "env:NO_SUCH_PIN"', site.config.read_text())
        site.config.write_text(pin)
        first, second, _ = run("verify", department, signed(site), "--config", site.config, "--json").lines
        assert [one["outcome"] for one in (first, second)] == ["good", "good"]
        alone = run("verify", signed(site), "--config", site.config, "--json").lines[0]
        assert alone["resume_key"] == second["resume_key"]
    finally:
        with open_token(site.token.uri()) as connection:
            _delete(connection, above)


def _delete(connection: SharedConnection, certificate: x509.Certificate) -> None:
    """Take a certificate off the token, which other tests use, too."""
    der = certificate.public_bytes(Encoding.DER)
    with connection.writable() as session:
        objects = connection.objects(session)
        for handle in objects.find({Attribute.CLASS: ObjectClass.CERTIFICATE}):
            if objects.read(handle, [Attribute.VALUE]).octets(Attribute.VALUE) == der:
                objects.destroy(handle)
