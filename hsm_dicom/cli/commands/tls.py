"""`hsm-dicom tls`: list the TLS profiles and probe a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Verbose

if TYPE_CHECKING:
    from hsm_dicom.network.settings import Peer
    from hsm_dicom.node.plan import NodePlan
    from hsm_dicom.tls import ProfileReport
    from hsm_dicom.tls.legacy import LegacyProfile
    from hsm_dicom.tls.probe import ProbeResult
    from hsm_dicom.trust import CertificateValidator

app = typer.Typer(help="TLS: the profiles of PS3.15, and what a server offers.", no_args_is_help=True)


@app.command("profiles", epilog="Example: hsm-dicom tls profiles")
def profiles(json: Json = False, verbose: Verbose = False) -> None:
    """List the TLS profiles, their requirements, and what the OpenSSL of this machine does not offer."""
    from hsm_dicom.cli.render import output
    from hsm_dicom.tls import report_profiles
    from hsm_dicom.tls.legacy import PROFILES as RETIRED

    if json:
        content = {
            "profiles": [_profile_json(report) for report in report_profiles()],
            "legacy": [_legacy_json(profile) for profile in RETIRED.values()],
        }
        output.write_json("tls-profiles", content)
        return
    for report in report_profiles():
        _print_profile(report)
    output.say(("Only as an exception in the configuration, with a reason and an end date", "bold"))
    for profile in RETIRED.values():
        output.say(profile.name, indent=2)
        rows = [("clause", profile.clause), ("suites", ", ".join(suite.name for suite in profile.suites))]
        output.facts([*rows, ("beware", profile.warning)], indent=4)


@app.command("probe", epilog="Example: hsm-dicom tls probe pacs.example:2762")
def probe(
    address: Annotated[
        str,
        typer.Argument(
            metavar="SERVER",
            show_default=False,
            help="The NAME of a peer in the configuration, or HOST:PORT; the default port is 2762.",
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            show_default=False,
            help="Profile to check against, by default the peer's; hsm-dicom tls profiles lists them.",
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            "--trust",
            metavar="FILE",
            show_default=False,
            help="CA certificates that validate its chain; by default, those of the configuration. Repeatable.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what a server offers and its certificates, and check both against a profile.

    The certificate of a peer in the configuration must be as its table describes it: names, subject, pins. That of any
    other server must be for HOST. hsm-dicom presents no certificate of its own and sends no DICOM.
    """
    from functools import partial

    from hsm_dicom.cli.context import open_plan
    from hsm_dicom.cli.render import output
    from hsm_dicom.network.authorisation import find_mismatch
    from hsm_dicom.tls import DEFAULT, get_profile
    from hsm_dicom.tls.probe import probe as look

    with open_plan(config) as plan:
        validator = _validator(plan, trust or [])
        peer = _find_peer(plan, address)
    host, port = _host_and_port(address) if peer is None else (peer.host or "", peer.port)
    default = DEFAULT if peer is None else peer.profile
    chosen = get_profile(profile) if profile else default
    expected = None if peer is None else partial(find_mismatch, peer)
    with output.working(f"Probing {host} port {port}", quiet=json):
        found = look(host, port, validator=validator, profile=chosen, find_mismatch=expected)
    if json:
        output.write_json("tls-probe", _probe_json(found))
    else:
        _print_probe(found)
    if not found.acceptable:
        raise typer.Exit(exits.FAILED)


def _find_peer(plan: NodePlan, name: str) -> Peer | None:
    """Return the peer with this name; None if there is none. Raises `typer.BadParameter` if it has no TLS server."""
    from hsm_dicom.network.settings import uses_tls

    if name not in plan.peers:
        return None
    peer = plan.peers[name].peer
    if peer.host is None:
        raise typer.BadParameter(f"Peer '{name}' has no host, since this node does not call it.", param_hint="SERVER")
    if not uses_tls(peer.iscl):
        raise typer.BadParameter(f"Peer '{name}' uses ISCL without TLS.", param_hint="SERVER")
    if peer.legacy is not None:
        raise typer.BadParameter(
            f"Peer '{name}' uses the retired profile {peer.legacy.profile}, which is not probed. Write "
            f"{peer.host}:{peer.port} to see whether its server offers a current one.",
            param_hint="SERVER",
        )
    return peer


def _validator(plan: NodePlan, trust: list[Path]) -> CertificateValidator | None:
    from hsm_dicom.trust import CertificateValidator as Validator
    from hsm_dicom.trust import TrustStore

    if trust:
        return Validator(TrustStore.from_files(trust))
    return plan.trust.open() if plan.trust.anchors else None


def _host_and_port(address: str) -> tuple[str, int]:
    from hsm_dicom.network.settings import DICOM_TLS_PORT

    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return address.strip("[]"), DICOM_TLS_PORT
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter("Write it like pacs.example:2762.", param_hint="SERVER")
    return host.strip("[]"), int(port)


def _print_profile(report: ProfileReport) -> None:
    from hsm_dicom.cli.render import output

    profile = report.profile
    output.say((profile.name, "bold"), f"  {profile.clause}, {profile.status}")
    versions = sorted({profile.minimum_version.name, profile.maximum_version.name})
    keys = profile.algorithms
    rows = [
        ("versions", " to ".join(name.replace("v", " ").replace("_", ".") for name in versions)),
        ("suites", ", ".join(suite.name for suite in report.offered)),
        ("groups", ", ".join(report.offered_groups)),
        *(
            ("preferred", f"{name}, if OpenSSL has it")
            for name in profile.additional_groups
            if name not in report.offered_groups
        ),
        ("keys", f"RSA from {keys.minimum_rsa_bits} bits, {', '.join(sorted(keys.curves))}"),
        ("order", "the server's" if profile.server_order else "the client's"),
    ]
    output.facts([*rows, *(("differs", shortfall) for shortfall in report.shortfalls)])


def _profile_json(report: ProfileReport) -> dict[str, Any]:
    profile = report.profile
    return {
        "name": profile.name,
        "title": profile.title,
        "clause": profile.clause,
        "status": profile.status,
        "minimum_version": profile.minimum_version.name,
        "maximum_version": profile.maximum_version.name,
        "suites": [suite.name for suite in profile.suites],
        "required": [suite.name for suite in profile.required],
        "offered": [suite.name for suite in report.offered],
        "groups": list(profile.groups),
        "additional_groups": list(profile.additional_groups),
        "offered_groups": list(report.offered_groups),
        "signature_algorithms": list(profile.signature_algorithms),
        "minimum_rsa_bits": profile.algorithms.minimum_rsa_bits,
        "minimum_dh_bits": profile.minimum_dh_bits,
        "curves": sorted(profile.algorithms.curves),
        "server_order": profile.server_order,
        "shortfalls": list(report.shortfalls),
    }


def _legacy_json(profile: LegacyProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "clause": profile.clause,
        "suites": [suite.name for suite in profile.suites],
        "warning": profile.warning,
    }


def _print_probe(found: ProbeResult) -> None:
    from hsm_dicom.cli.render import output

    for offer in found.offers:
        order = "its own order" if offer.server_order else "the client's order"
        output.say((offer.version, "bold"), f"  {order}")
        for suite in offer.suites:
            output.say(suite, indent=2)
    if found.groups:
        output.say(("groups", "bold"), f"  {', '.join(found.groups)}")
    for number, certificate in enumerate(found.chain):
        output.say(("certificate" if number == 0 else "issuer", "bold"), f"  {certificate.subject}")
        names = ", ".join((*certificate.dns_names, *certificate.ip_addresses))
        rows = [("serial", certificate.serial), ("names", names)] if number == 0 else [("serial", certificate.serial)]
        output.facts([*rows, ("pin", certificate.spki_sha256)])
    for sentence in _explain_roles(found):
        output.say((output.shown(sentence), output.UNSURE))
    if found.wants_certificate is not None:
        requests = "requests" if found.wants_certificate else "does not request"
        output.say(f"The server {requests} a certificate from its clients.")
    for remark in found.remarks:
        output.outcome(False, output.shown(remark))
    basis = (
        "" if found.verdict else " Its certificate was not validated: add --trust FILE with the certificate of a CA."
    )
    verdict = f"hsm-dicom {'would' if found.acceptable else 'would not'} connect under {found.profile}."
    output.outcome(found.acceptable, verdict + basis)


def _explain_roles(found: ProbeResult) -> Iterator[str]:
    """Yield which role of TLS the server's certificate cannot fill, now or soon, and what to do."""
    from hsm_dicom.trust import CertificatePurpose
    from hsm_dicom.trust.roles import END_OF_PUBLIC_CLIENT_AUTH

    for unfit in found.unfit_roles:
        yield f"Its certificate cannot be a {unfit.role}. {unfit.text}"
        if unfit.role is CertificatePurpose.TLS_CLIENT:
            yield (
                "If this system connects with it too (as for C-MOVE or storage commitment), listeners refuse it: ask "
                "its operator for a certificate with clientAuth, from the hospital's own CA."
            )
    if found.loses_client_auth:
        yield (
            "Its certificate is from a public CA, which issues none with clientAuth from "
            f"{END_OF_PUBLIC_CLIENT_AUTH} on. If this system connects with it too, ask its operator for one from the "
            "hospital's own CA before it ends."
        )


def _probe_json(found: ProbeResult) -> dict[str, Any]:
    return {
        "host": found.host,
        "port": found.port,
        "profile": found.profile,
        "acceptable": found.acceptable,
        "offers": [
            {"version": offer.version, "suites": list(offer.suites), "server_order": offer.server_order}
            for offer in found.offers
        ],
        "groups": list(found.groups),
        "chain": [
            {
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "serial": certificate.serial,
                "dns_names": list(certificate.dns_names),
                "ip_addresses": list(certificate.ip_addresses),
                "spki_sha256": certificate.spki_sha256,
            }
            for certificate in found.chain
        ],
        "unfit_roles": [{"role": unfit.role.value, "text": unfit.text} for unfit in found.unfit_roles],
        "loses_client_auth": found.loses_client_auth,
        "name_matches": found.name_fits,
        "certificate_matches": not found.mismatch,
        "requests_certificate": found.wants_certificate,
        "trusted": found.verdict.trusted if found.verdict else None,
        "remarks": list(found.remarks),
    }
