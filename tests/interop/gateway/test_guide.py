"""The guide on the gateway holds: its configuration is accepted as it shows, and relays between DCMTK's programs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.hsm_dicom.cli.conftest import run_program
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.listening import listening
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken
from tests.test_docs import as_pattern, blocks

PAGE = "howto/gateway.md"


@dataclass
class Site:
    """The configuration of the page, on loopback, and the ports of everybody."""

    config: Path
    plain: int
    ct: int
    pacs: int
    changes: dict[str, str]

    def translate(self, text: str) -> str:
        """Return a text of the page with the addresses and files of the test."""
        for written, here in self.changes.items():
            text = text.replace(written, here)
        return text

    def says(self, printed: str, shown: str) -> bool:
        """Return whether a command printed the text that the page shows, however it wraps lines."""
        pattern = as_pattern(self.translate(" ".join(shown.split())))
        return re.fullmatch(pattern, " ".join(printed.split()) + "\n", re.DOTALL) is not None


@pytest.fixture
def site(tmp_path: Path, node: TestToken, hospital: Hospital) -> Site:
    plain, secure, ct, pacs = (free_port() for _ in range(4))
    changes = {
        "/usr/lib/vendor/libpkcs11.so": str(MODULE),
        'label  = "CT room"': f'serial = "{node.serial}"',
        "credential:pin": node.pin,
        'object = "tls"': 'object = "rsa"\ncertificate = "node.pem"',
        "/etc/hsm-dicom": str(tmp_path),
        "/run/hsm-dicom": str(tmp_path),
        '"pacs.hospital.example"': f'"127.0.0.1"\nport = {pacs}',
        '"192.168.10.21"\nport      = 104': f'"127.0.0.1"\nport = {ct}',
        "192.168.10.21": "127.0.0.1",
        "192.168.10.1:104": f"127.0.0.1:{plain}",
        '"10.1.2.3"': f'"127.0.0.1"\nport = {secure}',
    }
    text = "\n".join(blocks(PAGE, "toml"))
    assert [written for written in changes if written not in text] == []
    made = Site(tmp_path / "hsm-dicom.toml", plain, ct, pacs, changes)
    (tmp_path / "node.pem").write_bytes(hospital.rsa.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "ca.pem").write_bytes(hospital.ca.pem)
    made.config.write_text(f'{made.translate(text)}\n[state]\nfolder = "state"\n')
    made.config.chmod(0o600)
    return made


@contextlib.contextmanager
def both_sides(site: Site, hospital: Hospital) -> Iterator[None]:
    """Run a PACS that speaks TLS only, and a CT that speaks plain DICOM only."""
    certificate, key = hospital.files(hospital.peer("PACS"))
    folders = [site.config.parent / name for name in ("pacs", "ct")]
    for folder in folders:
        folder.mkdir()
    tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
    with (
        serving(site.pacs, ["storescp", *tls, "-aet", "PACS", "-od", folders[0], site.pacs]),
        serving(site.ct, ["storescp", "-aet", "CT1", "-od", folders[1], site.ct]),
    ):
        yield


def test_the_configuration_is_checked_as_the_page_shows(site: Site) -> None:
    commands, (shown, _) = blocks(PAGE, "sh"), blocks(PAGE, "text")
    assert commands[0].endswith(" hsm-dicom check-config\n")
    result = run_program("check-config", "--config", site.config)
    assert result.status == 0, result.out
    assert site.says(result.out, shown), result.out


def test_the_routes_relay_in_both_directions(site: Site, hospital: Hospital) -> None:
    commands, (_, shown) = blocks(PAGE, "sh"), blocks(PAGE, "text")
    assert commands[-1].endswith(" hsm-dicom gateway check\n")
    file = ct_image(site.config.parent, "1.dcm")
    with both_sides(site, hospital), listening(site.config, command=("gateway", "run"), until="to-ct1"):
        result = run_program("gateway", "check", "--config", site.config)
        assert result.status == 0, result.out
        assert site.says(result.out, shown), result.out
        status, printed = run("storescu", "-xe", "-aet", "CT1", "-aec", "PACS", "127.0.0.1", site.plain, file)
        assert status == 0, printed
        assert len(list((site.config.parent / "pacs").iterdir())) == 1
        # The AE title of another device, and that of no route.
        for calling, called in (("CT2", "PACS"), ("CT1", "NODE")):
            status, printed = run("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", site.plain)
            assert status != 0
            assert f"{'Calling' if calling == 'CT2' else 'Called'} AE Title Not Recognized" in printed
