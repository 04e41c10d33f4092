"""What the DICOM side of an application does with a token: TLS and signed images; see `behaviours`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydicom.data import get_testdata_file

import hsm_dicom
import tokens
from hsm_dicom.identity import Identity
from hsm_dicom.tls.signer import take_failure
from hsm_dicom.trust import TrustStore
from tests.hsm_dicom.tls.handshakes import handshake
from tests.interop.modules.devices.device import Place
from tests.interop.modules.steps import describe
from tests.pki import Authority
from tokens.keys import PrivateKey


def shake_hands(place: Place, label: str) -> dict[str, str]:
    """Do mutual TLS handshakes in memory, with the key at both ends; returns the outcome of each version.

    OpenSSL gives no reason for a signature that failed; it is asked for as a listener asks.
    """
    ca = Authority("Test CA")
    trust = TrustStore(anchors=[ca.certificate])
    outcomes = {}
    with tokens.open_key(place.uri(label), **place.options) as key:
        identity = identity_of(key, ca, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            server = hsm_dicom.server_context([identity], trust)
            client = hsm_dicom.client_context(identity, trust)
            client.maximum_version = version
            try:
                ends = handshake(server, client)
            except ssl.SSLError:
                outcomes[version.name] = describe(take_failure())
                continue
            assert ends.exchange(b"A-ASSOCIATE-RQ") == b"A-ASSOCIATE-RQ"
            assert str(ends.client.version()).replace(".", "_") == version.name
            outcomes[version.name] = "done"
    return outcomes


def sign_an_image(place: Place, label: str) -> dict[str, Any]:
    """Sign a DICOM object and verify it; returns the verdict and who signed."""
    ca = Authority("Test CA")
    source = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    with tokens.open_key(place.uri(label), **place.options) as key:
        # The profiles of Annex C are for RSA keys.
        profile = "none" if isinstance(key, ec.EllipticCurvePrivateKey) else "creator"
        signed = hsm_dicom.sign(source, None, identity_of(key, ca), profile)
    verdict = hsm_dicom.verify(signed, trust=TrustStore(anchors=[ca.certificate]))
    (signature,) = verdict.signatures
    return {"valid": verdict.valid, "signer": signature.signer}


def identity_of(key: PrivateKey, ca: Authority, *purposes: x509.ObjectIdentifier) -> Identity:
    """An identity with a certificate for both ends of TLS, or for signatures where no purpose is given."""
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    purpose = {"extended": [each.dotted_string for each in purposes], "extensions": [(names, False)]}
    return Identity("node", key, ca.issue("node", key=key, **(purpose if purposes else {})).certificate)
