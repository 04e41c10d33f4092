"""A CT that cannot sign, a gateway that signs for it, and a PACS and a verifier that we did not write."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

import hsm_dicom
from hsm_dicom.signatures.integrity import check_integrity
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.interop.gateway.orthanc import list_uids, orthanc
from tests.interop.gateway.site import Site
from tests.interop.tls.programs import run, serving
from tests.pki import Identity
from tests.softhsm import TestToken

SIGN = 'objects = "sign"\nidentity = "node"\nfolder = "held"\nminimum_free_mib = 1\n'


@pytest.fixture
def site(node: TestToken, hospital: Hospital, tmp_path: Path) -> Site:
    return Site(tmp_path, node, hospital)


@contextmanager
def storescp(site: Site, *options: str) -> Iterator[Path]:
    """DCMTK's storescp over TLS as the PACS; the folder of what it received."""
    certificate, key = site.hospital.files(site.hospital.peer("PACS"))
    folder = site.folder / "pacs"
    folder.mkdir()
    tls = ["+tls", key, certificate, "+cf", site.hospital.ca_file]
    with serving(site.pacs, ["storescp", *tls, *options, "-aet", "PACS", "-od", folder, site.pacs], folder):
        yield folder


def store(site: Site, *files: Path, options: tuple[str, ...] = ("-xe",)) -> tuple[int, str]:
    return run("storescu", *options, "-aet", "CT1", "-aec", "PACS", "127.0.0.1", site.plain, *files)


def test_dcmsign_finds_the_signatures_of_what_dcmtk_sent_and_received_good(site: Site, hospital: Hospital) -> None:
    files = [ct_image(site.folder, f"{number}.dcm", value=number) for number in range(3)]
    site.write(route=SIGN)
    judge = site.folder / "judge"
    judge.mkdir()
    peer = hospital.peer("judge")
    dcmsign = Dcmsign(judge, hospital.ca, Identity(peer.certificate, peer.key))
    with storescp(site, "+B") as folder, site.gateway() as gateway:
        status, said = store(site, *files)
        assert status == 0, said
        received = list(folder.glob("CT*"))
        assert list_uids(received) == list_uids(files)
        for file in received:
            assert dcmsign.accepts(file), dcmsign.verify(file).stderr
            (signature,) = check_integrity(file).signatures
            assert signature.intact, signature.reason
        assert gateway.process.poll() is None
    assert not list((site.folder / "held").glob(".*.part"))


@pytest.mark.parametrize("syntax", ["-xi", "-xe", "-xb"], ids=["implicit", "explicit", "big endian"])
def test_every_transfer_syntax_of_the_wire_is_kept(syntax: str, site: Site) -> None:
    site.write(route=SIGN)
    with storescp(site, "+B", "+xa") as folder, site.gateway():
        status, said = store(site, ct_image(site.folder), options=(syntax,))
        assert status == 0, said
        (received,) = folder.glob("CT*")
        (signature,) = check_integrity(received).signatures
        assert signature.intact, signature.reason


def test_orthanc_stores_the_signed_object_and_gives_it_back_unchanged(site: Site) -> None:
    files = [ct_image(site.folder, f"{number}.dcm", value=number) for number in range(2)]
    site.write(route=SIGN)
    with orthanc(site) as pacs, site.gateway():
        status, said = store(site, *files)
        assert status == 0, said
        assert eventually(lambda: pacs.instances == list_uids(files))
        for instance in pacs.ask("/instances"):
            request = urllib.request.Request(f"http://127.0.0.1:{pacs.http}/instances/{instance}/file")
            request.add_header("Authorization", "Basic dGVzdDp0ZXN0")
            fetched = site.folder / f"{instance}.dcm"
            fetched.write_bytes(urllib.request.urlopen(request, timeout=10).read())
            (signature,) = check_integrity(fetched).signatures
            assert signature.intact, signature.reason


def test_a_policy_is_asked_and_what_does_not_meet_it_is_kept_aside(site: Site, hospital: Hospital) -> None:
    plain, signed = ct_image(site.folder, "plain.dcm", value=1), site.folder / "signed.dcm"
    hsm_dicom.sign(ct_image(site.folder, "source.dcm", value=2), signed, hospital.peer("CT 1", extended=()), "none")
    site.write(
        route='objects = "verify"\nfolder = "held"\npolicy = "ct"\non_unmet = "quarantine"\nminimum_free_mib = 1\n',
        more='\n[policies.ct]\nsubjects = ["CN=CT 1"]\n[events]\nfile = "events.jsonl"\n',
    )
    with storescp(site, "+B") as folder, site.gateway():
        status, said = store(site, signed)
        assert status == 0, said
        status, said = store(site, plain)
        assert status, said
        (received,) = folder.glob("CT*")
        assert list_uids([received]) == list_uids([signed])
    kept = site.folder / "held" / "quarantine"
    (uid,) = list_uids([plain])
    assert sorted(one.name for one in kept.iterdir()) == sorted([f"{uid}.dcm", f"{uid}.json"])
    events = [json.loads(line) for line in (site.folder / "events.jsonl").read_text().splitlines()]
    (refused,) = [one for one in events if one["event"] == "object-refused"]
    assert (refused["outcome"], refused["status"], refused["unmet"]) == (
        "quarantined",
        0xC001,
        ["unsigned", "no-valid-signature"],
    )
    assert [one["outcome"] for one in events if one["event"] == "object-held"] == ["verified"]


def test_pynetdicom_at_both_ends(site: Site, hospital: Hospital) -> None:
    files = [ct_image(site.folder, f"{number}.dcm", value=number) for number in range(3)]
    received: list[bytes] = []

    def keep(event: evt.Event) -> int:
        received.append(event.encoded_dataset())
        return 0xB000

    archive = AE("PACS")
    archive.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(hospital.ca_file))
    context.load_cert_chain(*hospital.files(hospital.peer("PACS")))
    context.verify_mode = ssl.CERT_REQUIRED
    server = archive.start_server(
        ("127.0.0.1", site.pacs), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    site.write(route=SIGN)
    try:
        with site.gateway():
            modality = AE("CT1")
            modality.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
            association = modality.associate("127.0.0.1", site.plain, ae_title="PACS")
            assert association.is_established
            assert [association.send_c_store(file).Status for file in files] == [0xB000] * 3
            association.release()
    finally:
        server.shutdown()
    for number, data in enumerate(received):
        place = site.folder / f"received-{number}.dcm"
        place.write_bytes(data)
        (signature,) = check_integrity(place).signatures
        assert signature.intact, signature.reason


def test_what_orthanc_sends_is_signed_too(site: Site) -> None:
    """The other direction: Orthanc calls over TLS, and the route to the plain device signs."""
    image = ct_image(site.folder)
    site.write()
    site.config.write_text(site.config.read_text().replace('to = "ct1"\n', f'to = "ct1"\n{SIGN}'))
    folder = site.folder / "ct1"
    folder.mkdir()
    receiver = ["storescp", "+B", "-aet", "CT1", "-od", folder, site.ct]
    with orthanc(site) as pacs, serving(site.ct, receiver, folder), site.gateway():
        status, said = store(site, image)
        assert status == 0, said
        assert eventually(lambda: pacs.instances == list_uids([image]))
        (instance,) = pacs.ask("/instances")
        request = urllib.request.Request(f"http://127.0.0.1:{pacs.http}/modalities/ct1/store", instance.encode())
        request.add_header("Authorization", "Basic dGVzdDp0ZXN0")
        urllib.request.urlopen(request, timeout=20).read()
        (received,) = folder.glob("CT*")
        (signature,) = check_integrity(received).signatures
        assert signature.intact, signature.reason
