"""Signatures of objects against a document: the hashes that policies accept, and the padding of RSA signatures."""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.node.presets.documents import Preset
from hsm_dicom.node.presets.findings import Finding, Table
from hsm_dicom.validation import VerificationPolicy


def compare_policy(table: Table, policy: VerificationPolicy, preset: Preset) -> Iterator[Finding]:
    """Compare the hashes that a policy accepts in any of its rules, those with a warning included."""
    if preset.macs is None or preset.certificate_hashes is None:
        return
    demands = [rule.demands for rule in policy.effective_rules]
    macs = frozenset[str]().union(*(one.mac_algorithms | one.weak_mac_algorithms for one in demands))
    hashes = frozenset[str]().union(*(one.certificate_hashes | one.weak_certificate_hashes for one in demands))
    yield _compare(table, "mac_algorithms", "MAC algorithms of signatures", macs - preset.macs, preset)
    outside = hashes - preset.certificate_hashes
    yield _compare(table, "certificate_hashes", "hashes in certificates of signers", outside, preset)


def compare_default_policy(preset: Preset) -> Iterator[Finding]:
    """Say what `verify` accepts where the configuration has no policy."""
    if preset.macs is None:
        return
    text = "Without a policy, verify accepts SHA1, RIPEMD160 and MD5, with a warning for each signature."
    remedy = "Write a table [policies.NAME] with weak_mac_algorithms = [], and name it where objects are verified."
    yield Finding("policies", "hashes", None, text, preset.sources["hashes"], remedy)


def compare_padding(table: Table, preset: Preset) -> Iterator[Finding]:
    """Compare what an RSA key that no TLS connection uses does: DICOM signatures have one padding only."""
    if preset.allows_pkcs1_padding:
        return
    text = "Its DICOM signatures use RSASSA-PKCS1-v1_5, as PS3.15 Annex C requires; the document counts it as legacy."
    remedy = "Sign with an EC key and sign --profile none, or have the exception approved."
    yield table.find("certificate", "padding", False, text, preset.sources["padding"], remedy)


def _compare(table: Table, key: str, what: str, outside: frozenset[str], preset: Preset) -> Finding:
    source = preset.sources["hashes"]
    if not outside:
        return table.find(key, "hashes", True, f"All {what} that it accepts are allowed.", source)
    weak = f"weak_{key}"
    text = f"It accepts {what} that the document does not list: {', '.join(sorted(outside))}."
    remedy = f"Write {weak} = [], and take them out of {key}."
    return table.find(weak, "hashes", False, text, source, remedy)
