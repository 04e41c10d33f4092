"""Whom `hsm-dicom verify` trusts, and what it requires: from its options, or from the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from hsm_dicom.config import Configuration
from hsm_dicom.config.devices import NotConfiguredError, find_token_access
from hsm_dicom.errors import Error
from hsm_dicom.identity import read_chain_files, read_token_chains
from hsm_dicom.node.trust import compile_trust
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation import PolicyError, PolicyValidator, Requirement, VerificationPolicy, load_policy
from hsm_dicom.validation.policies.contradictions import find_contradictions


@dataclass(frozen=True)
class TrustOptions:
    """The options of a command that say whom to trust."""

    anchors: Sequence[Path]
    intermediates: Sequence[Path]
    crls: Sequence[Path]
    ocsp_responses: Sequence[Path]
    timestamp_anchors: Sequence[Path]
    online: bool = False


def open_validator(
    configuration: Configuration,
    file: Path | None,
    options: TrustOptions,
    policy: str | None,
    require: Sequence[str],
) -> tuple[PolicyValidator, Path | None]:
    """Return the validator of a run, and the configuration whose `[trust]` it uses; None if it uses options only.

    With trust anchors in the options, `[trust]` is not used; else the other options add to it. Raises `PolicyError`,
    `TrustFileError`, and `NotConfiguredError` for a policy that the configuration does not have.
    """
    name, demands = _find_policy(configuration, policy)
    section = compile_trust(configuration)
    uses_section = not options.anchors and bool(section.anchors or section.timestamp_anchors)
    given = (options.intermediates, options.crls, options.ocsp_responses)
    kept = (section.intermediates, section.crls, section.ocsp_responses) if uses_section else ((), (), ())
    intermediates, crls, responses = ([*mine, *others] for mine, others in zip(given, kept, strict=True))

    def open_store(anchors: Sequence[Path], own: Sequence[Path]) -> TrustStore:
        return TrustStore.from_files(
            [*anchors, *(own if uses_section else ())],
            intermediates=intermediates,
            crls=crls,
            ocsp_responses=responses,
        )

    chains = read_chain_files(identity.chain for identity in configuration.identities.values())
    validator = PolicyValidator.from_stores(
        demands.with_requirements(map(Requirement, require)),
        open_store(options.anchors, section.anchors).with_intermediates(chains),
        timestamp_authorities=open_store(options.timestamp_anchors, section.timestamp_anchors),
        online=options.online,
        name=name,
    )
    return validator, file if uses_section else None


def find_token_chains(configuration: Configuration) -> list[x509.Certificate]:
    """Return the CAs' certificates on the configured tokens, for signers whose chain is not complete without them."""
    accesses = []
    for name in configuration.tokens:
        with contextlib.suppress(Error, OSError):  # a module that is missing or unsafe
            accesses.append(find_token_access(configuration, name))
    return read_token_chains(accesses)


def _find_policy(configuration: Configuration, policy: str | None) -> tuple[str, VerificationPolicy]:
    """Return a policy with its name, which is empty for one that is in a file of its own.

    A text with a `/`, or ending in `.toml`, is a file; anything else is a name of the configuration.
    """
    if policy is None:
        return "", VerificationPolicy()
    if "/" in policy or policy.endswith(".toml"):
        return "", _require_possible(policy, load_policy(Path(policy)))
    if policy not in configuration.policies:
        known = ", ".join(configuration.policies) or "none"
        hint = f"; for the file of this name, write ./{policy}" if Path(policy).is_file() else ""
        raise NotConfiguredError(
            f"The configuration has no policy '{policy}'; its policies: {known}.",
            remedy=f"Give the name of one of these, or add the table [policies.{policy}] to the file{hint}.",
        )
    return policy, _require_possible(policy, VerificationPolicy.from_section(configuration.policies[policy]))


def _require_possible(name: str, policy: VerificationPolicy) -> VerificationPolicy:
    """Return the policy. Raises `PolicyError` for one that contradicts itself, which check-config refuses, too."""
    for found in find_contradictions(policy):
        if found.is_never_met:
            raise PolicyError(f"{name}: {'.'.join(found.path)}: {found.text}", remedy=found.remedy)
    return policy
