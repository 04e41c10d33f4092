"""Policies in the plan, and opening one: `[policies.NAME]` with the trust of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509

from hsm_dicom.config.loading import Reading
from hsm_dicom.identity import read_chain_files
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.validation import PolicyValidator, VerificationPolicy
from hsm_dicom.validation.policies.contradictions import Contradiction, find_contradictions, find_unfulfillable


def compile_policies(reading: Reading, problems: ProblemCollector) -> dict[str, VerificationPolicy]:
    """Return the policies of a configuration by name, and report those that contradict themselves."""
    sections = reading.configuration.policies
    policies = {name: VerificationPolicy.from_section(section) for name, section in sections.items()}
    for name, policy in policies.items():
        report_contradictions(name, find_contradictions(policy), problems)
    return policies


def check_policies(plan: NodePlan, problems: ProblemCollector, certificates: Sequence[x509.Certificate]) -> None:
    """Report the policies that nothing signed can meet with the trust of the configuration.

    `certificates` are those of the node's identities. Raises `TrustFileError`.
    """
    if not plan.policies:
        return
    store, timestamp_store = plan.trust.open_store(), plan.trust.open_timestamp_store()
    for name, policy in plan.policies.items():
        found = find_unfulfillable(policy, store, timestamp_store, certificates)
        report_contradictions(name, found, problems)


def report_contradictions(name: str, found: Iterable[Contradiction], problems: ProblemCollector) -> None:
    """Report what is wrong with the policy `[policies.NAME]`."""
    for one in found:
        report = problems.add if one.is_never_met else problems.warn
        report(("policies", name, *one.path), one.text, one.remedy)


def open_policy(plan: NodePlan, name: str, *, online: bool = False) -> PolicyValidator:
    """Return the validator of the policy `[policies.NAME]`, with the trust anchors of `[trust]`, read now.

    The chains of the node's own identities help to build those of signers.

    `online` fetches missing issuers, OCSP responses and CRLs. Raises as `NodePlan.policy` does, and `TrustFileError`.
    """
    policy = plan.policy(name)
    chains = read_chain_files(identity.chain for identity in plan.identities.values())
    return PolicyValidator.from_stores(
        policy,
        plan.trust.open_store().with_intermediates(chains),
        timestamp_authorities=plan.trust.open_timestamp_store(),
        online=online,
        name=name,
    )
