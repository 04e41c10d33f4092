"""A whole PKI served on loopback by certomancer: CRLs, OCSP, CA certificates and a time-stamping authority by
HTTP.

    with served_pki(folder) as pki:
        pki.certificate("signer"), pki.url("tsa/tsa")

Certificates: `root`, `middle` below it; below `middle`: `signer` (OCSP and CRL), `crl-signer` (CRL only),
`revoked-by-ocsp`, `revoked-by-crl`; `tsa` below `root`, which embeds `root` in its tokens; `shy-tsa`, which
does not. Nothing but `root` is needed to judge them: issuers are named by address.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from certomancer.integrations.animator import Animator, AnimatorArchStore
from certomancer.registry import ArchLabel, CertLabel, CertomancerConfig
from cryptography import x509
from werkzeug.serving import make_server

from tests.pki import NOW, YEAR, Identity, new_key

_LABELS = ("root", "middle", "ocsp", "signer", "crl-signer", "revoked-by-ocsp", "revoked-by-crl", "tsa", "shy-tsa")
_VALIDITY = {"valid-from": (NOW - 2 * YEAR).isoformat(), "valid-to": (NOW + 2 * YEAR).isoformat()}


class _WholeSeconds(Animator):
    """certomancer 0.16 puts fractions of a second into OCSP responses, which RFC 6960 4.2.2.1 forbids."""

    def at_time(self, request: object) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class ServedPki:
    """A running PKI."""

    prefix: str
    _architecture: Any

    def certificate(self, label: str) -> x509.Certificate:
        return x509.load_der_x509_certificate(self._architecture.get_cert(CertLabel(label)).dump())

    def url(self, service: str) -> str:
        """The address of a service: "tsa/tsa", "ocsp/middle", "crls/middle/latest.crl"."""
        return f"{self.prefix}/test/{service}"


@contextmanager
def served_pki(folder: Path) -> Iterator[ServedPki]:
    """Make the keys in `folder` and serve until the context ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for number, label in enumerate(_LABELS):
        key = Identity(certificate=None, key=new_key("rsa2048", number))  # type: ignore[arg-type]
        (folder / f"{label}.pem").write_bytes(key.key_pem)
    server = make_server("127.0.0.1", 0, _not_ready, threaded=True)
    prefix = f"http://127.0.0.1:{server.port}"
    config = CertomancerConfig(_config(prefix), key_search_dir=str(folder))
    server.app = _WholeSeconds(AnimatorArchStore(config.pki_archs), with_web_ui=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield ServedPki(prefix, config.get_pki_arch(ArchLabel("test")))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _not_ready(environ: object, start_response: object) -> list[bytes]:
    raise RuntimeError("asked before the configuration was there")


def _usage(*bits: str) -> dict[str, Any]:
    return {"id": "key_usage", "critical": True, "smart-value": {"schema": "key-usage", "params": list(bits)}}


def _extended(*usages: str) -> dict[str, Any]:
    return {"id": "extended_key_usage", "critical": True, "value": list(usages)}


def _crl_at(repository: str) -> dict[str, Any]:
    smart = {"schema": "crl-dist-url", "params": {"crl-repo-names": [repository]}}
    return {"id": "crl_distribution_points", "smart-value": smart}


def _issuer_at(repository: str, *ocsp: str) -> dict[str, Any]:
    params: dict[str, Any] = {"ca-issuer-links": [{"repo": repository}], "ocsp-responder-names": list(ocsp)}
    return {"id": "authority_information_access", "smart-value": {"schema": "aia-urls", "params": params}}


def _certificate(issuer: str, *extensions: dict[str, Any], revoked: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"issuer": issuer, "validity": dict(_VALIDITY), "extensions": list(extensions)}
    if revoked:
        since = (NOW - timedelta(days=10)).isoformat()
        spec["revocation"] = {"revoked-since": since, "reason": "key_compromise"}
    return spec


def _config(prefix: str) -> dict[str, Any]:
    ca = {"id": "basic_constraints", "critical": True, "value": {"ca": True}}
    ca_usage = _usage("digital_signature", "key_cert_sign", "crl_sign")
    sign = _usage("digital_signature", "non_repudiation")
    stamp = (_usage("digital_signature"), _extended("time_stamping"), _crl_at("root"))
    by_ocsp = (sign, _issuer_at("middle", "middle"))
    by_crl = (sign, _issuer_at("middle"), _crl_at("middle"))
    certificates = {
        "root": {"subject": "root", "issuer": "root", "validity": _VALIDITY, "extensions": [ca, ca_usage]},
        "middle": _certificate("root", ca, ca_usage, _issuer_at("root"), _crl_at("root")),
        "ocsp": _certificate("middle", _usage("digital_signature"), _extended("ocsp_signing"), {"id": "ocsp_no_check"}),
        "signer": _certificate("middle", *by_ocsp, _crl_at("middle")),
        "crl-signer": _certificate("middle", *by_crl),
        "revoked-by-ocsp": _certificate("middle", *by_ocsp, revoked=True),
        "revoked-by-crl": _certificate("middle", *by_crl, revoked=True),
        "tsa": _certificate("root", *stamp),
        "shy-tsa": _certificate("root", *stamp),
    }
    schedule = {"simulated-update-schedule": "P1D"}
    services = {
        "ocsp": {"middle": {"for-issuer": "middle", "responder-cert": "ocsp", "signing-key": "ocsp"}},
        "crl-repo": {n: {"for-issuer": n, "signing-key": n, **schedule} for n in ("root", "middle")},
        "cert-repo": {n: {"for-issuer": n, "publish-issued-certs": True} for n in ("root", "middle")},
        "time-stamping": {
            "tsa": {"signing-key": "tsa", "signing-cert": "tsa", "certs-to-embed": ["root"]},
            "shy-tsa": {"signing-key": "shy-tsa", "signing-cert": "shy-tsa"},
        },
    }
    architecture = {
        "keyset": "test",
        "entities": {label: {"common-name": label} for label in _LABELS},
        "certs": certificates,
        "services": services,
    }
    return {
        "external-url-prefix": prefix,
        "keysets": {"test": {"keys": {label: {"path": f"{label}.pem"} for label in _LABELS}}},
        "pki-architectures": {"test": architecture},
    }
