"""The steps of the gateway's demonstration: a modality without TLS stores into a PACS that accepts nothing else."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hsm_dicom.cli.commands.demo.authority import DemonstrationAuthority
from hsm_dicom.cli.commands.demo.gateway_signing import ROUTE_KEYS, judge_received, make_signing_key
from hsm_dicom.cli.commands.demo.narrator import Narrator
from hsm_dicom.cli.commands.demo.pacs import AE_TITLE, choose_port, find_program, run_pacs
from hsm_dicom.cli.commands.demo.picture import take_picture
from hsm_dicom.cli.commands.demo.steps import LABEL, DemonstrationError, find_test_file, make_token
from hsm_dicom.cli.render import output
from hsm_dicom.config import find_token_access, load_configuration
from tokens.csr import certificate_request
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.certificates import import_certificates

MODALITY = "CT1"
SAMPLES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")
PROGRAM = (sys.executable, "-P", "-c", "from hsm_dicom.cli import main; main()")
_SECONDS = 60.0

_CONFIGURATION = """
[trust]
anchors = ["ca.pem"]
crls    = ["ca.crl"]

[peers.pacs]
host      = "127.0.0.1"
port      = {pacs}
ae_titles = ["PACS"]
identity  = "demonstration"

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["127.0.0.1"]
reason    = "cannot be changed"

[routes.to-pacs]
from     = ["ct1"]
listen   = "127.0.0.1:{plain}"
to       = "pacs"
{more}
[status]
listen = "127.0.0.1:{status}"
"""


def tell(folder: Path, *, kept: bool, signs: bool = False) -> None:
    """Run the demonstration in an empty folder. Raises `DemonstrationError` if a step has a wrong result.

    With `signs`, the gateway signs the objects that pass.
    """
    started = time.perf_counter()
    tale = Narrator()
    tale.title(
        "A gateway for devices that support no TLS",
        f"Everything happens in {folder}, on the loopback address" + ("." if kept else "; the folder is removed."),
    )
    find_program("storescu")
    make_token(tale, folder)
    authority = DemonstrationAuthority()
    _make_key(tale, folder, authority)
    if signs:
        make_signing_key(tale, folder, authority)
    pacs, plain, status = choose_port(), choose_port(), choose_port()
    images = _copy_images(folder)
    with run_pacs(folder, authority, pacs):
        _fail_without_gateway(tale, pacs, images)
        _configure(tale, folder, pacs, plain, status, ROUTE_KEYS if signs else "")
        with _run_gateway(folder) as gateway:
            _store_through_gateway(tale, folder, plain, images)
            if signs:
                judge_received(tale, folder, (folder / AE_TITLE).iterdir())
            _call_as_somebody_else(tale, plain)
            _show_status(tale, folder, status, kept=kept)
            _stop(tale, gateway)
    tale.remark(f"The demonstration took {time.perf_counter() - started:.0f} seconds.")
    if not kept:
        tale.command(f"hsm-dicom demo gateway {'--sign ' if signs else ''}--dir ./gateway")


def _make_key(tale: Narrator, folder: Path, authority: DemonstrationAuthority) -> None:
    tale.step("The gateway's TLS key", "Generated in the token. The PACS will see its certificate.")
    access = find_token_access(load_configuration(folder / "hsm-dicom.toml"), LABEL)
    with access.open() as connection:
        entry = generate_key(connection, "node", KeyKind.RSA_2048, Usage.TLS)
        wanted = access.select_object(entry.name.label, entry.name.id)
        with wanted.open_key() as key:
            request = certificate_request(key, "CN=Demonstration gateway", Usage.TLS)
        public_key = request.public_key()
        if not isinstance(public_key, RSAPublicKey):
            raise DemonstrationError("The demonstration key is not RSA.")
        certificate = authority.certify_for_tls(request.subject, public_key)
        import_certificates(connection, wanted.uri, [certificate, authority.certificate])
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "ca.crl").write_bytes(authority.revocation_list())
    tale.good(
        f"{certificate.subject.rfc4514_string()}, RSA {entry.attributes.size_bits} bits, never outside the token."
    )
    tale.command(f"hsm-dicom key generate {LABEL} --label node --type rsa-2048 --usage tls")


def _copy_images(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir()
    for name in SAMPLES:
        shutil.copy(find_test_file(name), images / name)
    return images


def _fail_without_gateway(tale: Narrator, pacs: int, images: Path) -> None:
    tale.step("Without the gateway", "DCMTK's storescu plays a CT without TLS. The PACS accepts TLS only.")
    if _store(pacs, images):
        raise DemonstrationError("The PACS accepted an association without TLS.")
    tale.refusal("The PACS rejects the CT's connection.")
    tale.command(f"storescu -aet {MODALITY} -aec {AE_TITLE} +sd 127.0.0.1 {pacs} images")


def _configure(tale: Narrator, folder: Path, pacs: int, plain: int, status: int, more: str) -> None:
    tale.step("A route for the CT", "The CT calls the gateway, which relays the association over TLS.")
    tables = _CONFIGURATION.format(pacs=pacs, plain=plain, status=status, more=more)
    with (folder / "hsm-dicom.toml").open("a") as configuration:
        configuration.write(tables)
    for line in tables[tables.index("[plain") : tables.index("[status")].strip().splitlines():
        output.say_verbatim(line, indent=4)
    tale.command("hsm-dicom check-config")


@contextlib.contextmanager
def _run_gateway(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the gateway as a process of its own, as on a node."""
    command = [*PROGRAM, "gateway", "run", "--config", str(folder / "hsm-dicom.toml")]
    with (folder / "gateway.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True)
    try:
        _await_line(process, folder / "gateway.log", "to-pacs")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(_SECONDS)


def _store_through_gateway(tale: Narrator, folder: Path, plain: int, images: Path) -> None:
    tale.step("Through the gateway", "The same command, to the gateway's port.")
    with tale.time_step("store"):
        if not _store(plain, images):
            raise DemonstrationError("The PACS did not store through the gateway; see gateway.log and pacs.log.")
    stored = list((folder / AE_TITLE).iterdir())
    if len(stored) != len(SAMPLES):
        raise DemonstrationError(f"The PACS stored {len(stored)} objects instead of {len(SAMPLES)}.")
    tale.good(f"The PACS stored {output.count(len(stored), 'object')}, received over TLS from the gateway.")
    tale.command(f"storescu -aet {MODALITY} -aec {AE_TITLE} +sd 127.0.0.1 {plain} images")
    for line in (folder / "gateway.log").read_text().splitlines():
        if "relay" in line.lower():
            tale.remark(line)


def _call_as_somebody_else(tale: Narrator, plain: int) -> None:
    tale.step("Another caller", "Only CT1, from its own address, may use the gateway's identity.")
    done = _run(find_program("echoscu"), "-aet", "LAPTOP", "-aec", AE_TITLE, "127.0.0.1", str(plain))
    if done.returncode == 0 or "Calling AE Title Not Recognized" not in done.stdout:
        raise DemonstrationError("The gateway relayed an association of an unknown caller.")
    tale.refusal("Association rejected: Calling AE Title Not Recognized.")
    tale.command(f"echoscu -aet LAPTOP -aec {AE_TITLE} 127.0.0.1 {plain}")


def _show_status(tale: Narrator, folder: Path, status: int, *, kept: bool) -> None:
    tale.step("The status page", "For people. Programs read /metrics, /status.json, /healthz and /readyz.")
    done = _run(*PROGRAM, "gateway", "status", "--config", str(folder / "hsm-dicom.toml"))
    if done.returncode:
        raise DemonstrationError(f"gateway status failed: {done.stdout.strip()}")
    for line in done.stdout.splitlines():
        output.say_verbatim(line, indent=4)
    picture = take_picture(f"http://127.0.0.1:{status}/", folder / "status.png")
    if picture is None:
        tale.remark("Chromium is not installed, so there is no picture of the page.")
    elif kept:
        tale.good(f"A picture of the page is in {picture}.")
    else:
        tale.remark("With --dir, a picture of the page is kept.")


def _stop(tale: Narrator, gateway: subprocess.Popen[str]) -> None:
    tale.step("Stopping", "SIGTERM: open associations may finish, and no new one is accepted.")
    gateway.send_signal(signal.SIGTERM)
    if gateway.wait(_SECONDS):
        raise DemonstrationError(f"The gateway ended with exit status {gateway.returncode}; see gateway.log.")
    tale.good("The gateway has stopped.")


def _store(port: int, images: Path) -> bool:
    """Store the images as the modality, without TLS, and return whether all were stored."""
    program = find_program("storescu")
    done = _run(program, "-aet", MODALITY, "-aec", AE_TITLE, "+sd", "127.0.0.1", str(port), str(images))
    return done.returncode == 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=_SECONDS
    )


def _await_line(process: subprocess.Popen[str], log: Path, text: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while text not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemonstrationError(f"The gateway did not start: {log.read_text().strip()}")
        time.sleep(0.05)
