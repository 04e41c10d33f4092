"""The same questions to `openssl verify`: chains, constraints, CRLs, purposes, and OCSP answers made by
`openssl ocsp`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Policy, RevocationPolicy, Sourced, TrustStore
from tests.pki import DAY, NOW, Authority, Identity, Revoked, new_key

pytestmark = pytest.mark.interop

OPENSSL_PURPOSES = {
    CertificatePurpose.TLS_CLIENT: "sslclient",
    CertificatePurpose.TLS_SERVER: "sslserver",
    CertificatePurpose.TIME_STAMPING: "timestampsign",
}
SERVER = "1.3.6.1.5.5.7.3.1"
STAMPING = "1.3.6.1.5.5.7.3.8"


@dataclass
class Case:
    """One question: everything that both judges are given."""

    leaf: Identity
    root: Authority
    middle: list[Authority] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    purpose: CertificatePurpose = CertificatePurpose.SIGNING
    validation_time: datetime = NOW


def plain(**leaf: object) -> Case:
    root = Authority("Root CA")
    middle = root.authority("Middle CA")
    return Case(middle.issue("Leaf", **leaf), root, [middle])


def with_middle(**wishes: object) -> Case:
    root = Authority("Root CA")
    middle = root.authority("Middle CA", **wishes)
    return Case(middle.issue("Leaf"), root, [middle])


def with_crls(revoke_leaf: bool = False, revoke_middle: bool = False, **times: Any) -> Case:
    case = plain()
    (middle,) = case.middle
    leaf = [Revoked(case.leaf)] if revoke_leaf else []
    case.crls = [middle.crl(leaf, **times), case.root.crl([middle] if revoke_middle else [])]
    return case


def for_purpose(purpose: CertificatePurpose, **wishes: object) -> Case:
    case = plain(**wishes)
    case.purpose = purpose
    return case


def too_long() -> Case:
    root = Authority("Root CA", path_length=1)
    first = root.authority("First CA")
    second = first.authority("Second CA")
    return Case(second.issue("Leaf"), root, [first, second])


def named(host: str) -> Case:
    only = (x509.NameConstraints([x509.DNSName("hospital.example")], None), True)
    case = with_middle(extensions=[only])
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    case.leaf = case.middle[0].issue("Leaf", extensions=[(names, False)])
    return case


def impostor() -> Case:
    case = plain()
    case.root = Authority("Root CA")
    return case


CASES: dict[str, tuple[bool, Callable[[], Case]]] = {
    "a plain chain": (True, plain),
    "RSA keys": (True, lambda: plain(key=new_key("rsa2048"))),
    "an Ed25519 key": (True, lambda: plain(key=new_key("ed25519"))),
    "expired": (False, lambda: plain(ends=NOW - DAY)),
    "not yet valid": (False, lambda: plain(begins=NOW + DAY)),
    "another CA of that name": (False, impostor),
    "no CA": (False, lambda: with_middle(ca=False)),
    "a CA without keyCertSign": (False, lambda: with_middle(usages=("crl_sign",))),
    "an expired CA": (False, lambda: with_middle(ends=NOW - DAY)),
    "a path too long": (False, too_long),
    "a permitted name": (True, lambda: named("pacs.hospital.example")),
    "a name not permitted": (False, lambda: named("pacs.example")),
    "CRLs that do not list it": (True, with_crls),
    "revoked": (False, lambda: with_crls(revoke_leaf=True)),
    "a revoked CA": (False, lambda: with_crls(revoke_middle=True)),
    "a stale CRL": (False, lambda: with_crls(issued=NOW - 9 * DAY, until=NOW - DAY)),
    "a server": (True, lambda: for_purpose(CertificatePurpose.TLS_SERVER, extended=[SERVER])),
    "a server as client": (False, lambda: for_purpose(CertificatePurpose.TLS_CLIENT, extended=[SERVER])),
    "a client that may not sign": (False, lambda: for_purpose(CertificatePurpose.TLS_CLIENT, usages=("crl_sign",))),
    "a time stamper": (
        True,
        lambda: for_purpose(CertificatePurpose.TIME_STAMPING, extended=[STAMPING], extended_critical=True),
    ),
    "a time stamper, not critical": (
        False,
        lambda: for_purpose(CertificatePurpose.TIME_STAMPING, extended=[STAMPING]),
    ),
    "a time stamper and more": (
        False,
        lambda: for_purpose(CertificatePurpose.TIME_STAMPING, extended=[STAMPING, SERVER], extended_critical=True),
    ),
}


@pytest.mark.parametrize("label", CASES)
def test_openssl_agrees(label: str, tmp_path: Path) -> None:
    expected, make = CASES[label]
    case = make()
    assert (ours(case), openssl(case, tmp_path)) == (expected, expected)


def ours(case: Case) -> bool:
    store = TrustStore(
        [case.root.certificate],
        [ca.certificate for ca in case.middle],
        crls=[Sourced(crl, "a list") for crl in case.crls],
    )
    return (
        CertificateValidator(store)
        .validate(case.leaf.certificate, case.purpose, validation_time=case.validation_time)
        .trusted
    )


def openssl(case: Case, folder: Path) -> bool:
    (folder / "root.pem").write_bytes(case.root.pem)
    (folder / "leaf.pem").write_bytes(case.leaf.pem)
    (folder / "middle.pem").write_bytes(b"".join(ca.pem for ca in case.middle))
    command = ["openssl", "verify", "-attime", str(int(case.validation_time.timestamp())), "-x509_strict"]
    command += ["-CAfile", "root.pem", "-untrusted", "middle.pem", "-no-CApath", "-no-CAstore"]
    if case.purpose in OPENSSL_PURPOSES:
        command += ["-purpose", OPENSSL_PURPOSES[case.purpose]]
    if case.crls:
        for number, crl in enumerate(case.crls):
            (folder / f"{number}.crl").write_bytes(crl)
            command += ["-CRLfile", f"{number}.crl"]
        command += ["-crl_check_all"]
    done = subprocess.run([*command, "leaf.pem"], cwd=folder, capture_output=True, timeout=20, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("revoked", [False, True])
def test_an_answer_of_the_openssl_responder_is_understood(revoked: bool, tmp_path: Path) -> None:
    ca = Authority("Test CA", key=new_key("rsa2048"))
    leaf = ca.issue("Leaf")
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "ca.key").write_bytes(ca.key_pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    ends = leaf.certificate.not_valid_after_utc.strftime("%y%m%d%H%M%SZ")
    since = f"{NOW - DAY:%y%m%d%H%M%SZ},keyCompromise" if revoked else ""
    serial = f"{leaf.serial:X}".rjust(len(f"{leaf.serial:X}") + len(f"{leaf.serial:X}") % 2, "0")
    (tmp_path / "index").write_text(f"{'R' if revoked else 'V'}\t{ends}\t{since}\t{serial}\tunknown\t/CN=Leaf\n")
    command = "ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert leaf.pem"
    subprocess.run(
        ["openssl", *command.split(), "-ndays", "1", "-no_nonce", "-respout", "answer.der"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=20,
    )
    store = TrustStore.from_files([tmp_path / "ca.pem"], ocsp_responses=[tmp_path / "answer.der"])
    policy = Policy(revocation=RevocationPolicy.REQUIRED)
    verdict = CertificateValidator(store, policy).validate(leaf.certificate, CertificatePurpose.SIGNING)
    assert verdict.trusted is not revoked, verdict.text
    assert verdict.path[0].revocation.reason == ("keyCompromise" if revoked else None)
