"""Plumbing of `tls` and `transfers`: a node with its TLS key on SoftHSM, and peers with keys in files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hsm_dicom.identity import Identity
from tests import pki, softhsm
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tokens import open_key
from tokens.uri import Pkcs11Uri


@contextmanager
def new_hospital() -> Iterator[tuple[Path, Hospital, Pkcs11Uri, str]]:
    """A folder for the measurement, the hospital, the URI of the node's key, and its PIN."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        softhsm.provision(folder / "softhsm")
        os.environ["HSM_DICOM_STATE"] = str(folder / "state")
        token = softhsm.new_token("node")
        uri = token.generate("rsa", usage="tls")
        yield folder, _hospital(folder, uri), uri, os.environ[token.pin.removeprefix("env:")]


def _hospital(folder: Path, uri: Pkcs11Uri) -> Hospital:
    ca = pki.Authority("Benchmark CA", key=pki.new_key("rsa2048"))
    key = open_key(uri)
    issued = ca.issue("node", key=key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()])
    node = Identity("node", key, issued.certificate)
    (folder / "pki").mkdir()
    return Hospital(ca, folder / "pki", node, node, node)
