"""`hsm-dicom verify`: verify the signatures of objects: integrity, signer, time and coverage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hsm_dicom.cli.options import Config, Files, Jobs, Json, Verbose

EXAMPLE = "Example: hsm-dicom verify signed/ --trust hospital-ca.pem --crl hospital-ca.crl --require creator"

PROBLEMS = "problems"
"""The word for `--only` that selects verdicts, not files."""

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
        help="CA certificates that are trusted, PEM or DER, or a folder of them. Repeatable. Without it, those of "
        "[trust] in the configuration.",
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
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME|FILE",
        help="All requirements: the NAME of a [policies.NAME] of the configuration, or a TOML file (with a / or ending "
        "in .toml).",
        show_default=False,
        rich_help_panel=_DEMANDS,
    ),
]
CallingAeTitle = Annotated[
    str,
    typer.Option(
        "--calling-ae-title",
        metavar="TITLE",
        help="Apply the rules of the policy as if this AE title had sent the objects.",
        show_default=False,
        rich_help_panel=_DEMANDS,
    ),
]
Selection = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN|problems",
        help="In folders, only files whose names match, such as '*.dcm'; problems: show only files that are not good.",
        show_default=False,
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
    policy: PolicyName = None,
    calling_ae_title: CallingAeTitle = "",
    only: Selection = None,
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
    from functools import partial

    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.files import expand
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.attempts import interruptible
    from hsm_dicom.cli.runs.trusting import TrustOptions, find_token_chains, open_validator
    from hsm_dicom.cli.runs.verifying import Shown, VerificationRun
    from hsm_dicom.cli.runs.workers import open_workers
    from hsm_dicom.config import find_configuration

    patterns = [one for one in only or () if one != PROBLEMS]
    if len(patterns) > 1:
        raise typer.BadParameter("--only takes one PATTERN, and the word problems.")
    chosen = expand(files, *patterns)
    options = TrustOptions(trust or (), intermediate or (), crl or (), ocsp or (), tsa or (), online=online)
    with open_configuration(config) as configuration:
        validator, source = open_validator(
            configuration, find_configuration(config), options, policy, [one.value for one in require or ()]
        )
        many = len(chosen.inputs) > BRIEF_FROM
        how = Shown(
            json=json,
            brief=many if brief is None else brief,
            problems_only=PROBLEMS in (only or ()),
            lists_problems=many,
        )
        run = VerificationRun(
            validator,
            how,
            source=source,
            calling_ae_title=calling_ae_title,
            dump=dump_mac,
            html=html,
            find_chains=partial(find_token_chains, configuration),
        )
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
