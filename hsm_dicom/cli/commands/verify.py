"""`hsm-dicom verify`: verify the signatures of objects: integrity, signer, time and coverage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsm_dicom.cli.options import Config, Files, Jobs, Json, Only, Verbose

if TYPE_CHECKING:
    from hsm_dicom.validation.validator import Validator

EXAMPLE = "Example: hsm-dicom verify signed/ --trust hospital-ca.pem --crl hospital-ca.crl --require creator"

BRIEF_FROM = 10
"""With more files than this, each gets one line instead of a block."""

_TRUST = "Whom to trust"
_DEMANDS = "Requirements"


class RequirementName(StrEnum):
    """`hsm_dicom.validation.policies.policy.Requirement`, here too so that --help need not load it."""

    ANY = "any"
    CREATOR = "creator"
    AUTHORIZATION = "authorization"
    SR = "sr"
    TIMESTAMP = "timestamp"


Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="CA certificates that are trusted, PEM or DER, or a folder of them. Repeatable.",
        show_default=False,
        rich_help_panel=_TRUST,
    ),
]
Intermediates = Annotated[
    list[Path] | None,
    typer.Option(
        "--intermediate",
        metavar="FILE",
        help="Certificates between signer and CA; not trusted by themselves.",
        show_default=False,
        rich_help_panel=_TRUST,
    ),
]
Crls = Annotated[
    list[Path] | None,
    typer.Option("--crl", metavar="FILE", help="Revocation lists.", show_default=False, rich_help_panel=_TRUST),
]
OcspResponses = Annotated[
    list[Path] | None,
    typer.Option("--ocsp", metavar="FILE", help="OCSP responses (DER).", show_default=False, rich_help_panel=_TRUST),
]
TimestampAuthorities = Annotated[
    list[Path] | None,
    typer.Option(
        "--tsa",
        metavar="FILE",
        help="CA certificates of time stamp authorities.",
        show_default=False,
        rich_help_panel=_TRUST,
    ),
]
Online = Annotated[
    bool, typer.Option("--online", help="Fetch missing issuers, CRLs and OCSP answers.", rich_help_panel=_TRUST)
]
Require = Annotated[
    list[RequirementName] | None,
    typer.Option(
        "--require",
        help="What each file must have, or exit 102. Repeatable.",
        show_default=False,
        rich_help_panel=_DEMANDS,
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="All requirements, as TOML; see docs/explanation/verdicts.md in the sources.",
        show_default=False,
        rich_help_panel=_DEMANDS,
    ),
]
Brief = Annotated[
    bool | None,
    typer.Option(
        "--brief/--full",
        help=f"One line or a block for each file; more than {BRIEF_FROM} are brief.",
        show_default=False,
    ),
]
MacFolder = Annotated[
    Path | None,
    typer.Option(
        "--dump-mac",
        metavar="FOLDER",
        help="Write what each signature's MAC is computed from to FOLDER/SIGNATURE-UID.mac.",
        show_default=False,
    ),
]
HtmlPage = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Also write one page for people: pictures, chains, reasons in plain words.",
        show_default=False,
    ),
]
EarlierRun = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Leave out files that this output of an earlier --json run has verdicts on.",
        show_default=False,
    ),
]


def verify(
    files: Files,
    trust: Trust = None,
    intermediate: Intermediates = None,
    crl: Crls = None,
    ocsp: OcspResponses = None,
    tsa: TimestampAuthorities = None,
    online: Online = False,
    require: Require = None,
    policy: PolicyFile = None,
    only: Only = None,
    brief: Brief = None,
    dump_mac: MacFolder = None,
    html: HtmlPage = None,
    resume: EarlierRun = None,
    jobs: Jobs = 1,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Verify the signatures in DICOM files, and say what each proves."""
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.files import expand
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.attempts import interruptible
    from hsm_dicom.cli.runs.verifying import VerificationRun
    from hsm_dicom.cli.runs.workers import open_workers

    chosen = expand(files, only)
    with open_configuration(config):
        validator = _validator(trust, intermediate, crl, ocsp, tsa, policy, require, online=online)
        short = len(chosen.inputs) > BRIEF_FROM if brief is None else brief
        run = VerificationRun(validator, json=json, brief=short, dump=dump_mac, html=html)
        paths = [str(item.path) for item in chosen.inputs]
        if resume is not None:
            paths = run.remove_validated(paths, resume)
        with (
            open_workers(jobs) as executor,
            interruptible(run.summarise) as stop,
            output.progress("Verifying", len(paths), quiet=json) as advance,
        ):
            run.leave_out(chosen.left_out)
            run.verify(paths, executor, advance, stop)
        run.summarise()
    raise typer.Exit(run.status)


def _validator(
    trust: list[Path] | None,
    intermediates: list[Path] | None,
    crls: list[Path] | None,
    ocsp: list[Path] | None,
    authorities: list[Path] | None,
    policy: Path | None,
    require: list[RequirementName] | None,
    *,
    online: bool,
) -> Validator:
    from hsm_dicom.trust import TrustStore
    from hsm_dicom.validation.policies.policy import Requirement, VerificationPolicy, load_policy
    from hsm_dicom.validation.validator import Validator

    def store(anchors: list[Path] | None) -> TrustStore:
        return TrustStore.from_files(
            anchors or (), intermediates=intermediates or (), crls=crls or (), ocsp_responses=ocsp or ()
        )

    demands = VerificationPolicy() if policy is None else load_policy(policy)
    demands = demands.with_requirements(Requirement(name.value) for name in require or ())
    return Validator.from_stores(store(trust), timestamp_authorities=store(authorities), policy=demands, online=online)
