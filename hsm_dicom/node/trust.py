"""Whose certificates a node trusts: `[trust]` in the plan. Light, so that `verify` need not load the network for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.config.sections import Configuration
from hsm_dicom.trust import CertificateValidator, Policy, RevocationPolicy, TrustStore


@dataclass(frozen=True, kw_only=True)
class TrustPlan:
    """Whose certificates are trusted: the files of `[trust]`, not read yet."""

    anchors: tuple[Path, ...] = ()
    intermediates: tuple[Path, ...] = ()
    crls: tuple[Path, ...] = ()
    ocsp_responses: tuple[Path, ...] = ()
    timestamp_anchors: tuple[Path, ...] = ()
    revocation: RevocationPolicy = RevocationPolicy.WHEN_GIVEN

    def open(self) -> CertificateValidator:
        """Read the files, and return the validator of peers' certificates. Raises `TrustFileError`."""
        return CertificateValidator(self.open_store(), Policy(revocation=self.revocation))

    def open_store(self) -> TrustStore:
        """Read the files, and return the trust store for peers and for signers of objects. Raises `TrustFileError`."""
        return self._open(self.anchors)

    def open_timestamp_store(self) -> TrustStore:
        """Likewise for time stamping authorities."""
        return self._open(self.timestamp_anchors)

    def _open(self, anchors: tuple[Path, ...]) -> TrustStore:
        return TrustStore.from_files(
            anchors, intermediates=self.intermediates, crls=self.crls, ocsp_responses=self.ocsp_responses
        )


def compile_trust(configuration: Configuration) -> TrustPlan:
    """Return the plan of `[trust]`. Nothing is opened."""
    section = configuration.trust
    return TrustPlan(
        anchors=section.anchors,
        intermediates=section.intermediates,
        crls=section.crls,
        ocsp_responses=section.ocsp_responses,
        timestamp_anchors=section.timestamp_anchors,
        revocation=RevocationPolicy(section.revocation),
    )
