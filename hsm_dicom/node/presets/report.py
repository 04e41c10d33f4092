"""The report on a plan: each rule of a document, applied to each thing of the configuration that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from hsm_dicom.errors import Error
from hsm_dicom.identity import IdentityAccess, read_certificates
from hsm_dicom.network.settings import ListenerSettings, Peer, uses_tls
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.node.presets.documents import Preset
from hsm_dicom.tls import TLSProfile
from hsm_dicom.tls.offered import list_offered, list_offered_groups


@dataclass(frozen=True)
class Finding:
    """One rule applied to one table. `meets` is None where the configuration does not show it.

    `remedy` is a sentence, empty if the rule is met. `source` is the place of the rule in its document.
    """

    table: str
    topic: str
    meets: bool | None
    text: str
    source: str
    remedy: str = ""


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
    findings: list[Finding] = []
    for name, identity in plan.identities.items():
        findings += _compare_identity(f"identities.{name}", identity, preset)
    for name, listener in plan.listeners.items():
        findings += _compare_connections(f"listeners.{name}", listener.settings, preset)
    for name, peer in plan.peers.items():
        findings += _compare_connections(f"peers.{name}", peer.peer, preset)
    for name in plan.plain:
        text = "It speaks plain DICOM, without encryption and without authentication."
        remedy = "Keep it in a network of its own, or give it TLS."
        findings.append(Finding(f"plain.{name}", "version", False, text, preset.sources["version"], remedy))
    return PresetReport(preset, tuple(findings))


def _compare_identity(table: str, identity: IdentityAccess, preset: Preset) -> Iterator[Finding]:
    source = preset.sources["keys"]
    if identity.certificate is None:
        text = "Its certificate is on the device, which this report does not open: the size of its key is not shown."
        yield Finding(table, "keys", None, text, source, "Compare the size with hsm-dicom key list.")
        return
    try:
        key = read_certificates(identity.certificate)[0].public_key()
    except Error as error:
        yield Finding(table, "keys", None, f"Its certificate cannot be read: {error}", source)
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
    yield Finding(table, "keys", meets, f"Its key is {what}.", source, remedy)


def _compare_connections(table: str, settings: ListenerSettings | Peer, preset: Preset) -> Iterator[Finding]:
    if settings.iscl is not None:
        text = "It uses ISCL, whose algorithms are DES and MD5."
        if not uses_tls(settings.iscl):
            yield Finding(table, "iscl", False, text, preset.sources["iscl"], "Use TLS, or ISCL inside TLS.")
            return
        text += " The TLS around it, which is compared below, protects the data."
        yield Finding(table, "iscl", None, text, preset.sources["iscl"])
    if settings.legacy is not None:
        text = f"It uses the retired profile {settings.legacy.profile}, which is TLS 1.0."
        yield Finding(table, "version", False, text, preset.sources["version"], "Remove its legacy table.")
        return
    yield from _compare_profile(table, settings.profile, preset)


def _compare_profile(table: str, profile: TLSProfile, preset: Preset) -> Iterator[Finding]:
    def compare(topic: str, what: str, outside: list[str]) -> Finding:
        source = preset.sources[topic]
        if not outside:
            return Finding(table, topic, True, f"{profile.name}: all {what} that it offers are allowed.", source)
        text = f"{profile.name} also offers {what} that the document does not list: {', '.join(outside)}."
        remedy = f"Choose another profile =, or have the peer choose {what} of the document."
        return Finding(table, topic, False, text, source, remedy)

    low = profile.minimum_version < preset.minimum_version
    version = profile.minimum_version.name.replace("v1_", " 1.")
    remedy = "Choose another profile =." if low else ""
    text = f"{profile.name} begins at {version}."
    yield Finding(table, "version", not low, text, preset.sources["version"], remedy)
    suites = list_offered(profile)
    yield compare("suites", "suites", [suite.name for suite in suites if suite.code not in preset.suites])
    groups = list_offered_groups(profile)
    yield compare("groups", "groups", [group for group in groups if group not in preset.groups])
    if any("_DHE_" in suite.name and not suite.tls13 for suite in suites):
        meets = profile.minimum_dh_bits >= preset.minimum_dh_bits
        text = f"{profile.name} offers Diffie-Hellman from {profile.minimum_dh_bits} bits, as strong as the key."
        remedy = "" if meets else "Use keys of at least 3072 bits, or a profile without DHE suites."
        yield Finding(table, "dh", meets, text, preset.sources["dh"], remedy)
