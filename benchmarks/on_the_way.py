"""Objects that a route signs or judges on their way, beside doing the same with files before they are sent.

Both go to DCMTK's storescp over TLS, and the key is on SoftHSM. The other way is `sign` (or `verify`) of all files in
one process, and then `store` of what came out. Each round has objects of its own, because a route signs the same octets
once. The memory is that of the gateway's process while one object of 4 GiB passes.
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

import hsm_dicom
from benchmarks.gateway import send_objects
from benchmarks.hospital import new_hospital
from benchmarks.relays import LOOPBACK, Relay, Site, require_programs, run_ours
from benchmarks.rows import Row
from hsm_dicom.gateway.hold import Answer, Caller
from hsm_dicom.gateway.holding.holder import open_holding
from hsm_dicom.gateway.holding.settings import HoldingSettings, SigningSettings
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.identity import Identity
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.dimse.commands import AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, CommandSet
from hsm_dicom.network.settings import Peer
from hsm_dicom.network.store import store
from hsm_dicom.signing import sign_files
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation import PolicyValidator, VerificationPolicy
from tests import pki
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.ports import free_port

CTS = 100
PIXELS = 512 * 512 * 2
ROUNDS = 5
LONG = 256 << 20
LARGE = 4 << 30
MIB = 1 << 20
_LOOK_SECONDS = 0.05


def run() -> Iterator[Row]:
    """Small objects signed and judged, and the memory that a large one takes."""
    require_programs()
    with new_hospital() as (folder, hospital, uri, _):
        site = Site.make(hospital, uri)
        certificate, key = hospital.files(hospital.peer("PACS"))
        port = free_port()
        tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
        command = ["env", "TCP_NODELAY=1", "storescp", *tls, "--ignore", "-aet", "PACS", port]
        with serving(port, command, folder):
            signing = HoldingSettings(
                folder=folder / "signing", signing=SigningSettings(identity="node"), minimum_free_mib=0
            )
            judging = HoldingSettings(folder=folder / "judging", policy="any", minimum_free_mib=0)
            yield _sign(folder, site, port, signing)
            yield _verify(folder, site, port, judging)
            yield _promptness(folder, hospital)
            for holding, what in ((signing, "signed"), (judging, "judged")):
                yield _memory(folder, site, port, holding, what)


def _sign(folder: Path, site: Site, port: int, holding: HoldingSettings) -> Row:
    node, hospital = site.hospital.rsa, site.hospital

    def beforehand(images: Path, scratch: Path) -> None:
        failed = [one.error for one in sign_files(sorted(images.iterdir()), scratch, node, "base") if one.error]
        if failed:
            raise failed[0]
        _store(scratch, hospital, node, port)

    with run_ours(site, is_secured_in=False, target=port, inspects=True, holding=holding) as ours:
        seconds = _alternate(folder, lambda images: _send(ours, images), beforehand)
    return _compare(f"sign on the way: {CTS} CTs of 512 KiB", seconds, "sign, then store")


def _verify(folder: Path, site: Site, port: int, holding: HoldingSettings) -> Row:
    hospital = site.hospital
    issued = hospital.ca.issue("CT 1", key=pki.new_key("rsa2048"))
    modality = Identity("ct1", issued.key, issued.certificate)
    judge = PolicyValidator.from_stores(VerificationPolicy(), TrustStore([hospital.ca.certificate]))

    def prepare(images: Path) -> None:
        _sign_in_place(modality, images)

    def beforehand(images: Path, scratch: Path) -> None:
        for file in sorted(images.iterdir()):
            if not judge.validate_file(file).is_met:
                raise RuntimeError(f"{file} does not meet the policy.")
        _store(images, hospital, hospital.rsa, port)

    with run_ours(site, is_secured_in=False, target=port, inspects=True, holding=holding) as ours:
        seconds = _alternate(folder, lambda images: _send(ours, images), beforehand, prepare)
    return _compare(f"judge on the way: {CTS} signed CTs of 512 KiB", seconds, "verify, then store")


def _alternate(
    folder: Path,
    on_the_way: Callable[[Path], None],
    beforehand: Callable[[Path, Path], None],
    prepare: Callable[[Path], None] = lambda images: None,
) -> tuple[float, float]:
    """The median seconds of both ways, in turns, each with new objects."""
    times: tuple[list[float], list[float]] = [], []
    for turn in range(2 * ROUNDS):
        with TemporaryDirectory(dir=folder) as name:
            images, scratch = Path(name) / "images", Path(name) / "scratch"
            images.mkdir()
            for number in range(CTS):
                ct_image(images, f"{number}.dcm", pixels=PIXELS, value=number)
            prepare(images)
            started = time.perf_counter()
            if turn % 2:
                beforehand(images, scratch)
            else:
                on_the_way(images)
            times[turn % 2].append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def _compare(what: str, seconds: tuple[float, float], other: str) -> Row:
    ours, theirs = (CTS / one for one in seconds)
    return Row(what, f"{ours:.0f} objects/s", f"{theirs:.0f} objects/s {other}", ours / theirs, ">= 0.6")


def _promptness(folder: Path, hospital: Hospital) -> Row:
    """How soon after the last octet of a long object its signature is there: the hash follows the octets."""
    context = AcceptedContext(str(CTImageStorage), ExplicitVRLittleEndian)
    settings = HoldingSettings(folder=folder / "long", signing=SigningSettings(identity="node"), minimum_free_mib=0)
    seconds: dict[str, list[float]] = {"ours": [], "hash": []}
    answers: list[str] = []
    with open_holding("measured", settings, hospital.rsa) as resources:
        holder = resources.make_holder(Caller(LOOPBACK, "CT1", lambda outcome: None))
        for number in range(ROUNDS):
            uid = f"1.2.3.{number}"
            data = memoryview(data_set_bytes(ct_image(folder, "long.dcm", uid=uid, pixels=LONG)))
            elements = {AFFECTED_SOP_CLASS_UID: CTImageStorage.encode(), AFFECTED_SOP_INSTANCE_UID: uid.encode()}
            held = holder.collect(context, CommandSet(elements))
            for at in range(0, len(data), 1 << 17):
                held.write(data[at : at + (1 << 17)])
            started = time.perf_counter()
            made = held.treat()
            treated = time.perf_counter()
            hashlib.sha256(data)
            seconds["ours"].append(treated - started)
            seconds["hash"].append(time.perf_counter() - treated)
            held.discard()
            answers += [made.comment] if isinstance(made, Answer) else []
    if answers:
        raise RuntimeError(answers[0])
    ours, hashing = (statistics.median(one) * 1000 for one in seconds.values())
    return Row(
        f"the signature of {LONG // MIB} MiB is there after the last octet",
        f"{ours:.0f} ms",
        f"{hashing:.0f} ms to hash it",
        ours / hashing,
        "<= 0.3",
    )


def _memory(folder: Path, site: Site, port: int, holding: HoldingSettings, what: str) -> Row:
    """How far the gateway's memory grows while one large object passes; a sparse file is sent."""
    with TemporaryDirectory(dir=folder) as name, contextlib.ExitStack() as stack:
        small, large = Path(name) / "small", Path(name) / "large"
        small.mkdir()
        large.mkdir()
        ct_image(small, pixels=PIXELS)
        image = ct_image(large, pixels=1 << 16)
        _enlarge(image, LARGE - 2 * MIB)
        if holding.policy is not None:
            issued = site.hospital.ca.issue("CT 1", key=pki.new_key("rsa2048"))
            modality = Identity("ct1", issued.key, issued.certificate)
            _sign_in_place(modality, small)
            _sign_in_place(modality, large)
        ours = stack.enter_context(run_ours(site, is_secured_in=False, target=port, inspects=True, holding=holding))
        _send(ours, small)
        before, most = ours.memory_mib, 0.0
        sending = threading.Thread(target=_send, args=(ours, large))
        sending.start()
        while sending.is_alive():
            most = max(most, ours.memory_mib)
            sending.join(_LOOK_SECONDS)
    return Row(
        f"memory that a {what} object of 4 GiB takes",
        f"{most - before:.0f} MiB",
        "32 MiB",
        (most - before) / 32,
        "<= 1",
    )


def _enlarge(image: Path, size: int) -> None:
    """Make the last element, the Pixel Data, as long as this: a hole in the file."""
    data = image.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    head = data[: at + 8] + size.to_bytes(4, "little")
    with image.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


def _sign_in_place(signer: Identity, images: Path) -> None:
    """Replace the files of a folder by signed ones."""
    for image in sorted(images.iterdir()):
        hsm_dicom.sign(image, image, signer, "base", overwrite=True)


def _send(relay: Relay, images: Path) -> None:
    send_objects(relay.port, images, TCP_NODELAY="1")


def _store(files: Path, hospital: Hospital, identity: Identity, port: int) -> None:
    peer = Peer(name="pacs", ae_titles=("PACS",), host=LOOPBACK, port=port)
    result = store(peer, make_peer_transport(peer, identity, hospital.validator()), "CT1", [files])
    if not result.done:
        raise RuntimeError(next(outcome.text for outcome in result.outcomes if not outcome.done))
