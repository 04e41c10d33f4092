"""The steps of the demonstration, in order, written like a program that uses this library."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.cli.commands.demo.authority import DemonstrationAuthority
from hsm_dicom.cli.commands.demo.narrator import Narrator
from hsm_dicom.cli.commands.demo.steps import LABEL, DemonstrationError, find_test_file, make_token
from hsm_dicom.cli.render import output
from hsm_dicom.config import find_token_access, load_configuration
from hsm_dicom.dataset import DicomFile
from hsm_dicom.events import EventFile
from hsm_dicom.identity import Identity, load_identity
from hsm_dicom.signatures import Profile, SigningReport, SigningRequest, check_integrity, sign
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation.validator import Outcome, Validator, Verdict
from tokens.csr import certificate_request
from tokens.errors import KeyNotExportableError
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.certificates import import_certificates
from tokens.pkcs11.check import reveals_private_value

_PATIENT_NAME = 0x00100010
_FULL_SPEED_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    """An object from pydicom, and its signature parameters."""

    name: str
    what: str
    profile: Profile
    purpose: int | None = None


SAMPLES = (
    Sample("CT_small.dcm", "CT image", Profile.CREATOR),
    Sample("MR_small.dcm", "MR image", Profile.CREATOR),
    Sample("SC_rgb_rle_2frame.dcm", "colour, 2 frames, RLE", Profile.CREATOR),
    Sample("reportsi.dcm", "structured report", Profile.SR, purpose=1),
)


def tell(folder: Path, *, kept: bool) -> None:
    """Run the demonstration in an empty folder. Raises `DemonstrationError` if a step has a wrong result."""
    tale = Narrator()
    tale.title(
        "DICOM signatures with a key that never leaves its token",
        f"Everything happens in {folder}" + ("." if kept else ", which is removed at the end."),
    )
    with EventFile(folder / "events.jsonl").record():
        module = make_token(tale, folder)
        authority = DemonstrationAuthority()
        _make_key(tale, folder, authority)
        with load_identity(LABEL, load_configuration(folder / "hsm-dicom.toml")) as identity:
            _try_to_steal(tale, folder)
            _sign_images(tale, folder, identity)
            validator = Validator.from_stores(TrustStore.from_files([folder / "ca.pem"], crls=[folder / "ca.crl"]))
            _verify(tale, folder, validator)
            _change_one_byte(tale, folder, validator)
            _ask_dcmsign(tale, folder)
            rate = _signatures_per_second(identity)
    _tell_timings(tale, folder, rate)
    _what_next(tale, folder, module, kept=kept)


def _make_key(tale: Narrator, folder: Path, authority: DemonstrationAuthority) -> None:
    tale.step("A key inside it, and its certificate", "Generated in the token; the request is signed there as well.")
    access = find_token_access(load_configuration(folder / "hsm-dicom.toml"), LABEL)
    with access.open() as connection:
        with tale.time_step("generate RSA 3072 in the token"):
            entry = generate_key(connection, "node", KeyKind.RSA_3072, Usage.SIGN)
        wanted = access.select_object(entry.name.label, entry.name.id)
        with wanted.open_key() as key, tale.time_step("make the certificate request"):
            request = certificate_request(key, "CN=Demonstration node", Usage.SIGN)
        certificate = authority.answer(request)
        import_certificates(connection, wanted.uri, [certificate, authority.certificate])
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "ca.crl").write_bytes(authority.revocation_list())
    attributes = entry.attributes
    tale.facts(
        ("key", f"{entry.name.label}, RSA {attributes.size_bits} bits"),
        ("made inside", _yes(attributes.local)),
        ("ever extractable", _yes(attributes.never_extractable is False)),
        ("certificate", f"{certificate.subject.rfc4514_string()}, until {certificate.not_valid_after_utc:%Y-%m-%d}"),
        ("issued by", certificate.issuer.rfc4514_string()),
    )
    tale.command(f"hsm-dicom key generate {LABEL} --label node --type rsa-3072")
    tale.command(f"hsm-dicom key csr {LABEL} --subject 'CN=Demonstration node' --out node.csr")


def _try_to_steal(tale: Narrator, folder: Path) -> None:
    tale.step("Stealing it", "Logged in, with the right PIN, we ask for the private key, in two ways.")
    access = find_token_access(load_configuration(folder / "hsm-dicom.toml"), LABEL).select_object("node", None)
    with access.open() as connection:
        if reveals_private_value(connection, access.uri):
            raise DemonstrationError("The token gave away its private key.")
    tale.good("C_GetAttributeValue of the private exponent and of a prime: refused.")
    with access.open_key() as key:
        try:
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        except KeyNotExportableError as error:
            tale.good(f"private_bytes() of the key object: {error}")
        else:
            raise DemonstrationError("The key object gave away its private key.")


def _sign_images(tale: Narrator, folder: Path, identity: Identity) -> None:
    tale.step("Signing real images", "Only a hash goes to the token. All is signed, patient identity included.")
    (folder / "images").mkdir()
    (folder / "signed").mkdir()
    certificate = identity.certificate.public_bytes(Encoding.DER)
    total = 0.0
    rows = output.Table("object", "profile", "signed", "ms", right=("signed", "ms"))
    for sample in SAMPLES:
        source = folder / "images" / sample.name
        shutil.copy(find_test_file(sample.name), source)
        request = SigningRequest(certificate, sample.profile, purpose=sample.purpose)
        started = time.perf_counter()
        report: SigningReport = sign(source, folder / "signed" / sample.name, identity.key, request)
        seconds = time.perf_counter() - started
        total += seconds
        rows.add_row(
            sample.what, sample.profile.value, output.count(len(report.signed), "attribute"), f"{seconds * 1000:.0f}"
        )
    tale.timings.append((f"sign {len(SAMPLES)} objects", total))
    rows.print(indent=4)
    tale.command(f"hsm-dicom sign images --out-dir signed --identity {LABEL} --profile creator")


def _verify(tale: Narrator, folder: Path, validator: Validator) -> None:
    tale.step("Verifying them", "By mathematics, by the certificate chain, and by what each signature covers.")
    with tale.time_step(f"verify {len(SAMPLES)} objects"):
        verdicts = [validator.validate(check_integrity(folder / "signed" / sample.name)) for sample in SAMPLES]
    for sample, verdict in zip(SAMPLES, verdicts, strict=True):
        if verdict.outcome is not Outcome.GOOD:
            raise DemonstrationError(f"What was just signed does not verify: {verdict.text}")
        tale.good(f"{sample.what}: {_words(verdict)}")
    tale.command("hsm-dicom verify signed --trust ca.pem --crl ca.crl")


def _change_one_byte(tale: Narrator, folder: Path, validator: Validator) -> None:
    tale.step("Changing one byte", "The first letter of the patient's name, in the signed CT.")
    forged = folder / "forged.dcm"
    content = bytearray((folder / "signed" / SAMPLES[0].name).read_bytes())
    with DicomFile.open(folder / "signed" / SAMPLES[0].name) as file:
        at = file.main[_PATIENT_NAME].value
    before = content[at]
    content[at] = before ^ 0x01
    forged.write_bytes(content)
    verdict = validator.validate(check_integrity(forged))
    if verdict.outcome is not Outcome.SIGNATURE_FAILED:
        raise DemonstrationError("A changed byte was not noticed.")
    tale.facts(("byte", f"{at}: {before:02X} '{before:c}' became {content[at]:02X} '{content[at]:c}'"))
    tale.refusal(_words(verdict))
    tale.command("hsm-dicom verify forged.dcm --trust ca.pem; echo $?")
    tale.remark(f"exit status {verdict.outcome.exit_status}")


def _ask_dcmsign(tale: Narrator, folder: Path) -> None:
    tale.step("A second opinion", "DCMTK's dcmsign knows nothing of this program.")
    program = shutil.which("dcmsign")
    if program is None:
        tale.remark("dcmsign is not installed; on Debian: apt-get install dcmtk")
        return
    for name, path in (*((s.what, folder / "signed" / s.name) for s in SAMPLES), ("forged CT", folder / "forged.dcm")):
        done = subprocess.run(
            [program, "--verify", "+rg", "+cf", folder / "ca.pem", path], capture_output=True, check=False, timeout=60
        )
        if (done.returncode == 0) is not (name != "forged CT"):
            raise DemonstrationError(f"dcmsign disagrees on the {name} (exit status {done.returncode}).")
        (tale.good if done.returncode == 0 else tale.refusal)(f"{name}: dcmsign says {_dcmsign_word(done.returncode)}")
    tale.command("dcmsign --verify +cf ca.pem signed/CT_small.dcm")


def _tell_timings(tale: Narrator, folder: Path, rate: float) -> None:
    events = (folder / "events.jsonl").read_text().count("\n")
    tale.step("How long it took", "On this computer; an HSM's own speed takes SoftHSM's place.")
    tale.facts(
        *((what, f"{seconds * 1000:8,.1f} ms") for what, seconds in tale.timings),
        ("the token alone", f"{rate:8,.0f} signatures/s, one session"),
    )
    tale.remark(f"Every login and every use of the key is in events.jsonl: {output.count(events, 'line')}.")


def _what_next(tale: Narrator, folder: Path, module: Path, *, kept: bool) -> None:
    tale.step("What to type next", "With what was made here:" if kept else "Keep what the demonstration makes:")
    if kept:
        tale.command(f"cd {folder}")
        tale.command(f"export SOFTHSM2_CONF={os.environ['SOFTHSM2_CONF']}")
        tale.command("hsm-dicom check-config")
        tale.command(f"hsm-dicom sign YOUR.dcm --out signed.dcm --identity {LABEL}")
        tale.command("hsm-dicom verify signed.dcm --trust ca.pem --crl ca.crl")
    else:
        tale.command("hsm-dicom demo --dir ./demonstration")
    output.say("With your own HSM, ask it whether it will do:", indent=4)
    tale.command("hsm-dicom token list --module /path/of/your/hsm.so")
    tale.command("hsm-dicom token check 'pkcs11:token=…?module-path=…' --pin prompt")


def _signatures_per_second(identity: Identity) -> float:
    key = identity.key
    if not isinstance(key, RSAPrivateKey):
        raise DemonstrationError("The demonstration key is not RSA.")
    count, deadline = 0, time.perf_counter() + _FULL_SPEED_SECONDS
    while time.perf_counter() < deadline:
        key.sign(b"demonstration", padding.PKCS1v15(), hashes.SHA256())
        count += 1
    return count / _FULL_SPEED_SECONDS


def _words(verdict: Verdict) -> str:
    return "; ".join(signature.text for signature in verdict.signatures)


def _dcmsign_word(status: int) -> str:
    return "OK" if status == 0 else f"no (exit status {status})"


def _yes(value: bool | None) -> str:
    return "yes" if value else "no"
