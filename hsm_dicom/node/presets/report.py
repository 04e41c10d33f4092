"""The report on a plan: each rule of a document, applied to each thing of the configuration that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from hsm_dicom.config.lines import KeyPath, index_lines
from hsm_dicom.errors import Error
from hsm_dicom.identity import IdentityAccess, read_certificates
from hsm_dicom.network.settings import ListenerSettings, Peer, uses_tls
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.node.presets.documents import Preset
from hsm_dicom.node.presets.findings import Finding, Table
from hsm_dicom.node.presets.objects import compare_default_policy, compare_padding, compare_policy
from hsm_dicom.tls import TLSProfile
from hsm_dicom.tls.offered import list_offered, list_offered_groups


@dataclass(frozen=True)
class PresetReport:
    """What of a plan meets a document, and what does not."""

    preset: Preset
    findings: tuple[Finding, ...]

    @property
    def meets(self) -> bool:
        """Whether no finding says that a rule is not met. What the configuration does not show does not count."""
        return all(finding.meets is not False for finding in self.findings)


def report_preset(plan: NodePlan, preset: Preset) -> PresetReport:
    """Compare a plan with a document. Opens no token and no connection; reads the files of certificates."""
    lines: dict[KeyPath, int] = {}
    with suppress(OSError, ValueError):  # a file that has gone costs the line numbers
        lines = index_lines(plan.file.read_text("utf-8"))
    findings: list[Finding] = []
    for_tls = _list_identities_for_tls(plan)
    for name, identity in plan.identities.items():
        findings += _compare_identity(Table(("identities", name), lines), identity, preset, name not in for_tls)
    for name, policy in plan.policies.items():
        findings += compare_policy(Table(("policies", name), lines), policy, preset)
    if not plan.policies:
        findings += compare_default_policy(preset)
    for name, listener in plan.listeners.items():
        findings += _compare_connections(Table(("listeners", name), lines), listener.settings, preset)
    for name, peer in plan.peers.items():
        findings += _compare_connections(Table(("peers", name), lines), peer.peer, preset)
    for name in plan.plain:
        text = "It speaks plain DICOM, without encryption and without authentication."
        remedy = "Keep it in a network of its own, or give it TLS."
        table = Table(("plain", name), lines)
        findings.append(table.find("", "version", False, text, preset.sources["version"], remedy))
    return PresetReport(preset, tuple(findings))


def _list_identities_for_tls(plan: NodePlan) -> frozenset[str]:
    shown = [identity for listener in plan.listeners.values() for identity in listener.identities]
    shown += [peer.identity for peer in plan.peers.values() if peer.identity is not None]
    return frozenset(name for name, identity in plan.identities.items() if identity in shown)


def _compare_identity(table: Table, identity: IdentityAccess, preset: Preset, signs: bool) -> Iterator[Finding]:
    source = preset.sources["keys"]
    if identity.certificate is None:
        text = "Its certificate is on the device, which this report does not open: the size of its key is not shown."
        yield table.find("object", "keys", None, text, source, "Compare the size with hsm-dicom key list.")
        return
    try:
        key = read_certificates(identity.certificate)[0].public_key()
    except Error as error:
        yield table.find("certificate", "keys", None, f"Its certificate cannot be read: {error}", source)
        return
    if isinstance(key, rsa.RSAPublicKey):
        meets, what = key.key_size >= preset.minimum_rsa_bits, f"RSA with {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        meets, what = key.curve.name in preset.curves, key.curve.name
    else:
        name = {ed25519.Ed25519PublicKey: "ed25519", ed448.Ed448PublicKey: "ed448"}.get(type(key), "")
        meets, what = name in preset.curves, name or type(key).__name__
    wanted = f"RSA from {preset.minimum_rsa_bits} bits, or {', '.join(sorted(preset.curves))}"
    remedy = "" if meets else f"Generate a key that the document allows: {wanted}."
    yield table.find("certificate", "keys", meets, f"Its key is {what}.", source, remedy)
    if signs and isinstance(key, rsa.RSAPublicKey):
        yield from compare_padding(table, preset)


def _compare_connections(table: Table, settings: ListenerSettings | Peer, preset: Preset) -> Iterator[Finding]:
    if settings.iscl is not None:
        text = "It uses ISCL, whose algorithms are DES and MD5."
        if not uses_tls(settings.iscl):
            yield table.find("iscl", "iscl", False, text, preset.sources["iscl"], "Use TLS, or ISCL inside TLS.")
            return
        text += " The TLS around it, which is compared below, protects the data."
        yield table.find("iscl", "iscl", None, text, preset.sources["iscl"])
    if settings.legacy is not None:
        text = f"It uses the retired profile {settings.legacy.profile}, which is TLS 1.0."
        yield table.find("legacy", "version", False, text, preset.sources["version"], "Remove its legacy table.")
        return
    yield from _compare_profile(table, settings.profile, preset)


def _compare_profile(table: Table, profile: TLSProfile, preset: Preset) -> Iterator[Finding]:
    def compare(topic: str, what: str, outside: list[str]) -> Finding:
        source = preset.sources[topic]
        if not outside:
            text = f"{profile.name}: all {what} that it offers are allowed."
            return table.find("profile", topic, True, text, source)
        text = f"{profile.name} also offers {what} that the document does not list: {', '.join(outside)}."
        remedy = f"Choose another profile =, or have the peer choose {what} of the document."
        return table.find("profile", topic, False, text, source, remedy)

    yield _compare_versions(table, profile, preset)
    suites = list_offered(profile)
    yield compare("suites", "suites", [suite.name for suite in suites if suite.code not in preset.suites])
    groups = list_offered_groups(profile)
    yield compare("groups", "groups", [group for group in groups if group not in preset.groups])
    schemes = profile.signature_algorithms
    outside = [scheme for scheme in schemes if scheme not in preset.signature_schemes]
    yield compare("signatures", "signature algorithms", outside)
    if any("_DHE_" in suite.name and not suite.tls13 for suite in suites):
        meets = profile.minimum_dh_bits >= preset.minimum_dh_bits
        text = f"{profile.name} offers Diffie-Hellman from {profile.minimum_dh_bits} bits, as strong as the key."
        remedy = "" if meets else "Use keys of at least 3072 bits, or a profile without DHE suites."
        yield table.find("profile", "dh", meets, text, preset.sources["dh"], remedy)


def _compare_versions(table: Table, profile: TLSProfile, preset: Preset) -> Finding:
    wanted = preset.required_version
    is_low = profile.minimum_version < preset.minimum_version
    is_missing = wanted is not None and not profile.minimum_version <= wanted <= profile.maximum_version
    names = [version.name.replace("v1_", " 1.") for version in (profile.minimum_version, profile.maximum_version)]
    text = f"{profile.name} offers {' to '.join(dict.fromkeys(names))}."
    remedy = "Choose another profile =." if is_low or is_missing else ""
    return table.find("profile", "version", not (is_low or is_missing), text, preset.sources["version"], remedy)
