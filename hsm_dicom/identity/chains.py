"""Certificates of CAs that are at hand: in the chain files of identities, and on tokens.

A DICOM signature holds the signer's certificate only. Whoever verifies it needs the certificates of the CAs in between,
which the node that signs has. They help to build a chain, and are not trusted by themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from hsm_dicom.config.devices import TokenAccess
from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.identity.files import read_certificates
from hsm_dicom.trust import order_chain
from hsm_dicom.trust.certificates import is_ca
from tokens.errors import Error

_log = logging.getLogger(__name__)


def read_chain_files(paths: Iterable[Path | None]) -> list[x509.Certificate]:
    """Return the CAs' certificates in files. One that cannot be read is left out: check-config reports it."""
    found: list[x509.Certificate] = []
    for path in paths:
        try:
            found += () if path is None else read_certificates(path)
        except (IdentityError, OSError) as error:
            _log.info("A chain is left out: %s", error)
    return [one for one in found if _is_ca(one)]


def read_token_chains(tokens: Iterable[TokenAccess]) -> list[x509.Certificate]:
    """Return the CAs' certificates on tokens, which are read without a PIN. A token that fails is left out."""
    found: list[x509.Certificate] = []
    for token in tokens:
        try:
            found += token.read_public_certificates()
        except (Error, OSError) as error:
            _log.info("The certificates of a token are left out: %s", error)
    return [one for one in found if _is_ca(one)]


def find_stored_chain(
    certificate: x509.Certificate, stored: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the chain of a certificate among those stored on its token, without the root, which peers have."""
    chain, _ = order_chain(certificate, stored)
    return tuple(one for one in chain if one.issuer != one.subject)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return is_ca(certificate)
    except ValueError:  # an extension that cannot be read
        return False
