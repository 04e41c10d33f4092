"""Roles of certificates in a node: what an identity is used for and cannot be, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from hsm_dicom.node.plan import NodePlan
from hsm_dicom.trust import CertificatePurpose
from hsm_dicom.trust.roles import END_OF_PUBLIC_CLIENT_AUTH, ROLES, find_unfit_roles, loses_client_auth


@dataclass(frozen=True)
class RoleRemark:
    """A role that an identity is used in and that its certificate, or the next one, cannot fill."""

    text: str
    remedy: str


def review_roles(plan: NodePlan, name: str, certificate: x509.Certificate) -> Iterator[RoleRemark]:
    """Yield the roles that the tables of a plan give an identity, and its certificate cannot fill, now or soon."""
    word = shlex.quote(name)
    peers = [one for one, peer in plan.peers.items() if peer.identity is not None and peer.identity.name == name]
    called = _list_tables("peers", peers)
    for problem in find_unfit_roles(certificate, [CertificatePurpose.TLS_CLIENT] if peers else []):
        yield RoleRemark(
            f"It cannot be the TLS client of {called}, which may refuse it. {problem.text}",
            f"Have one issued by your own CA: hsm-dicom key csr {word} --eku clientAuth --eku serverAuth. "
            f"Public CAs issue none with clientAuth from {END_OF_PUBLIC_CLIENT_AUTH} on. Or name another identity "
            "there.",
        )
    if peers and loses_client_auth(certificate):
        yield RoleRemark(
            f"It is from a public CA, whose next certificate for it cannot be the TLS client of {called}: public CAs "
            f"issue none with clientAuth from {END_OF_PUBLIC_CLIENT_AUTH} on, and most have stopped already.",
            f"Before {certificate.not_valid_after_utc:%Y-%m-%d}, have one issued by your own CA (hsm-dicom key csr "
            f"{word} --eku clientAuth --eku serverAuth) that these peers trust.",
        )
    for role, listeners in _find_listeners(plan, name).items():
        for problem in find_unfit_roles(certificate, [role]):
            yield RoleRemark(
                f"It cannot be the TLS server of {_list_tables('listeners', listeners)}, which callers may refuse. "
                f"{problem.text}",
                f"Have one issued for that: hsm-dicom key csr {word} --eku clientAuth --eku serverAuth. "
                "Or name another identity there.",
            )
    signing = [one for one, route in plan.routes.items() if route.signer is not None and route.signer.name == name]
    for problem in find_unfit_roles(certificate, [CertificatePurpose.SIGNING] if signing else []):
        yield RoleRemark(
            f"It is not for signatures, and {_list_tables('routes', signing)} signs with it: who verifies them finds "
            f"them invalid. {problem.text}",
            "Make another key and a certificate for signatures (hsm-dicom key csr), and name its identity there.",
        )


def describe_roles(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """Return which roles a certificate can fill, and which not: "for TLS server, not for TLS client or signing"."""
    unfit = [one.role for one in find_unfit_roles(certificate)]
    fit = [role for role in ROLES if role not in unfit]
    parts = (f"for {' and '.join(fit)}" if fit else "", f"not for {' or '.join(unfit)}" if unfit else "")
    return ", ".join(part for part in parts if part)


def _find_listeners(plan: NodePlan, name: str) -> dict[CertificatePurpose, list[str]]:
    """Return the listeners that show an identity, by the role that their transport gives it."""
    found: dict[CertificatePurpose, list[str]] = {}
    for one, listener in plan.listeners.items():
        if name in (identity.name for identity in listener.identities):
            retired = listener.settings.legacy is not None
            role = CertificatePurpose.TLS_SERVER_RSA_KEY_EXCHANGE if retired else CertificatePurpose.TLS_SERVER
            found.setdefault(role, []).append(one)
    return found


def _list_tables(kind: str, names: list[str]) -> str:
    return ", ".join(f"{kind}.{name}" for name in names)
