"""Switching a use of an identity to its successor: whether the successor is ready, and the line that switches.

one = plan.successions["node"]
for check in check_readiness(plan, "node", Use.TLS):
    print(check.passed, check.text)
    certificate = check.certificate or certificate
write_switch(file, one, "next_in_tls", "true", certificate)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsm_dicom.config.editing import EditError, move_table, replace_configuration, set_key
from hsm_dicom.config.loading import read_configuration
from hsm_dicom.config.problems import Severity
from hsm_dicom.errors import Error
from hsm_dicom.events import ConfigurationChanged, emit
from hsm_dicom.identity import Identity, Succession, Use, find_expiry_remark
from hsm_dicom.node.compiler import compile_plan
from hsm_dicom.node.identities.succession import find_tables
from hsm_dicom.node.opening import open_identity
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.tls.facts import spki_sha256
from hsm_dicom.trust import CertificatePurpose
from hsm_dicom.trust.roles import find_unfit_roles
from tokens.errors import PinError
from tokens.pins.sources import PinSource

_DATA = b"hsm-dicom: the successor of an identity is ready"


@dataclass(frozen=True)
class ReadinessCheck:
    """One thing that a switch needs, as a sentence, and whether it is given.

    `certificate` is that of the successor, in the check that opened it.
    """

    text: str
    passed: bool
    certificate: x509.Certificate | None = None


def check_readiness(plan: NodePlan, name: str, use: Use, *, pin: PinSource | None = None) -> Iterator[ReadinessCheck]:
    """Open the successor of an identity, sign with it, and check its certificate for this use.

    Raises `tokens.errors.PinError`, and nothing else for what it finds.
    """
    one = plan.successions[name]
    access = plan.identities.get(one.successor)
    if access is None:
        yield ReadinessCheck(f"[identities.{one.successor}] has an error; see hsm-dicom check-config.", False)
        return
    try:
        with open_identity(access, pin=pin) as identity:
            opened = f"{one.successor} opens, and its certificate is for its key."
            yield ReadinessCheck(opened, True, identity.certificate)
            _sign(identity)
            yield ReadinessCheck("A signature with its key was verified.", True)
            remark = find_expiry_remark(identity.certificate)
            ends = f"{identity.certificate.not_valid_after_utc:%Y-%m-%d}"
            is_valid = remark is None or not remark.expired
            # A day for signatures may be in the future; check-config compares it with the validity period.
            if use is Use.TLS or not is_valid:
                text = f"Its certificate is valid now, until {ends}." if is_valid or remark is None else remark.text
                yield ReadinessCheck(text, is_valid)
            unfit = find_unfit_roles(identity.certificate, _list_roles(plan, name, one.successor, use))
            for role in unfit:
                yield ReadinessCheck(f"It cannot be used for {role.role}. {role.text}", False)
            if not unfit:
                yield ReadinessCheck("Its key usage and extended key usage are for this.", True)
    except PinError:
        raise
    except (Error, InvalidSignature) as error:
        sentence = str(error) if isinstance(error, Error) else "The signature of its key is wrong."
        yield ReadinessCheck(f"{one.successor}: {sentence}", False)


def write_switch(
    file: Path, one: Succession, key: str, value: str, certificate: x509.Certificate | None = None
) -> ConfigurationChanged:
    """Set a key of `[identities.NAME]` in a configuration file, and emit and return the event.

    `certificate` is that of the successor, if it serves by this; None means that the identity itself serves again.
    Raises `EditError` if the file would have an error that it has not now, or has no such table; and OSError.
    """
    text = file.read_text(encoding="utf-8")
    change = f"[identities.{one.name}] has {key} = {value}"
    serving = one.name if certificate is None else one.successor
    made = _describe_change(file, text, one.name, change, serving, certificate)
    return _write(set_key(text, ("identities", one.name), key, value), f"{key} = {value}", made)


def write_retirement(file: Path, one: Succession, certificate: x509.Certificate) -> ConfigurationChanged:
    """Let `[identities.NAME]` have the lines of its successor, whose own table is removed; emit and return the event.

    `certificate` is that of the successor. Raises `EditError` if another table names the successor, or the lines cannot
    be moved; and OSError.
    """
    text = file.read_text(encoding="utf-8")
    moved = move_table(text, ("identities", one.successor), ("identities", one.name))
    change = f"[identities.{one.name}] has the lines of [identities.{one.successor}], which is removed"
    made = _describe_change(file, text, one.name, change, one.name, certificate)
    return _write(moved, f"[identities.{one.name}] with the lines of [identities.{one.successor}]", made)


def _describe_change(
    file: Path, text: str, identity: str, change: str, serving: str, certificate: x509.Certificate | None
) -> ConfigurationChanged:
    return ConfigurationChanged(
        path=str(file),
        previous_sha256=_digest(text),
        sha256="",
        identity=identity,
        change=change,
        serving=serving,
        spki_sha256="" if certificate is None else spki_sha256(certificate),
        certificate_serial="" if certificate is None else f"{certificate.serial_number:x}",
    )


def _write(text: str, what: str, made: ConfigurationChanged) -> ConfigurationChanged:
    """Write the text unless the file would have an error that it has not now, and emit the event."""
    file = Path(made.path)
    known = {(one.key, one.text) for one in compile_plan(read_configuration(file)).problems}

    def check(beside: Path) -> None:
        for problem in compile_plan(read_configuration(beside)).problems:
            if problem.severity is Severity.ERROR and (problem.key, problem.text) not in known:
                raise EditError(f"{what} was not written: {problem.text}", remedy=problem.remedy)

    replace_configuration(file, text, check)
    made = replace(made, sha256=_digest(text))
    emit(made)
    return made


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _list_roles(plan: NodePlan, name: str, successor: str, use: Use) -> list[CertificatePurpose]:
    if use is Use.SIGNING:
        return [CertificatePurpose.SIGNING]
    kinds = {table.partition(".")[0] for table in find_tables(plan, name, successor)}
    roles = {"listeners": CertificatePurpose.TLS_SERVER, "peers": CertificatePurpose.TLS_CLIENT}
    return [role for kind, role in roles.items() if kind in kinds]


def _sign(identity: Identity) -> None:
    """Sign with the key of an identity, and verify with its certificate. Raises `InvalidSignature`."""
    key, public = identity.key, identity.certificate.public_key()
    if isinstance(key, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey):
        signature = key.sign(_DATA, padding.PKCS1v15(), hashes.SHA256())
        public.verify(signature, _DATA, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(public, ec.EllipticCurvePublicKey):
        public.verify(key.sign(_DATA, ec.ECDSA(hashes.SHA256())), _DATA, ec.ECDSA(hashes.SHA256()))
