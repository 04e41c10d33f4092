"""Orthanc as a PACS that speaks DICOM over TLS only, with a key in a file."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.gateway.site import Site
from tests.interop.tls.programs import Server, serving
from tests.ports import free_port

_USER, _PASSWORD = "test", "test"


@dataclass
class Orthanc:
    """A running Orthanc, and its REST interface."""

    server: Server
    http: int

    def ask(self, path: str) -> Any:
        """Return the JSON of a resource."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}")
        secret = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    @property
    def instances(self) -> set[str]:
        """The SOP Instance UIDs that it stores."""
        found = self.ask("/instances?expand")
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}


@contextlib.contextmanager
def orthanc(site: Site) -> Iterator[Orthanc]:
    """Run Orthanc as the PACS of a site. It calls CT1, and CT9, which has no route, at the secured listener."""
    certificate, key = site.hospital.files(site.hospital.peer("PACS"))
    folder = site.folder / "orthanc"
    folder.mkdir()
    http = free_port()
    settings = {
        "Name": "PACS",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {_USER: _PASSWORD},
        "DicomAet": "PACS",
        "DicomPort": site.pacs,
        "DicomCheckCalledAet": True,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(site.hospital.ca_file),
        "DicomModalities": {
            name.lower(): {"AET": name, "Host": "127.0.0.1", "Port": site.secure, "UseDicomTls": True}
            for name in ("CT1", "CT9")
        },
        "StableAge": 1,
    }
    file = site.folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    with serving(site.pacs, ["Orthanc", file]) as server:
        yield Orthanc(server, http)


def list_uids(files: list[Path]) -> set[str]:
    """Return the SOP Instance UIDs of files."""
    from pydicom import dcmread

    return {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files}
