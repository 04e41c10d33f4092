"""Policies in the plan, and opening one: `[policies.NAME]` with the trust of the configuration."""

from __future__ import annotations

from hsm_dicom.config.loading import Reading
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.validation import PolicyValidator, VerificationPolicy


def compile_policies(reading: Reading) -> dict[str, VerificationPolicy]:
    """Return the policies of a configuration by name."""
    return {name: VerificationPolicy.from_section(section) for name, section in reading.configuration.policies.items()}


def open_policy(plan: NodePlan, name: str, *, online: bool = False) -> PolicyValidator:
    """Return the validator of the policy `[policies.NAME]`, with the trust anchors of `[trust]`, read now.

    `online` fetches missing issuers, OCSP responses and CRLs. Raises as `NodePlan.policy` does, and `TrustFileError`.
    """
    policy = plan.policy(name)
    return PolicyValidator.from_stores(
        policy,
        plan.trust.open_store(),
        timestamp_authorities=plan.trust.open_timestamp_store(),
        online=online,
        name=name,
    )
