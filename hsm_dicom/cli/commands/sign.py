"""`hsm-dicom sign`: DICOM digital signatures on any number of files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import (
    Config,
    Files,
    Jobs,
    Json,
    Module,
    Only,
    OutDir,
    Overwrite,
    Pin,
    Verbose,
    identity_names,
    key_names,
)

if TYPE_CHECKING:
    from hsm_dicom.config import Configuration
    from hsm_dicom.dataset.tags import ItemPath
    from hsm_dicom.identity import Identity
    from hsm_dicom.signatures import SigningRequest
    from hsm_dicom.signatures.creation.create import Timestamper

EXAMPLE = "Example: hsm-dicom sign ct/ --out-dir signed/ --identity node --profile creator"


class ProfileName(StrEnum):
    """`hsm_dicom.signatures.Profile`, here too so that --help need not load it."""

    NONE = "none"
    BASE = "base"
    CREATOR = "creator"
    AUTHORIZATION = "authorization"
    SR = "sr"
    SR_VERIFICATION = "sr-verification"


class MacName(StrEnum):
    """The MAC algorithms of PS3.15 C.1."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"
    SHA1 = "sha1"
    MD5 = "md5"
    RIPEMD160 = "ripemd160"


_WHO = "Who signs"
_WHAT = "What is signed"

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where to write the one file.", show_default=False),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace each file with the signed one.")]
IdentityName = Annotated[
    str | None,
    typer.Option(
        "--identity",
        metavar="NAME",
        autocompletion=identity_names,
        help="The identity in the configuration that signs.",
        show_default=False,
        rich_help_panel=_WHO,
    ),
]
KeyUri = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        autocompletion=key_names,
        help="Instead of --identity: a key, as the NAME of an identity, TOKEN/LABEL, or a pkcs11: or card: URI.",
        show_default=False,
        rich_help_panel=_WHO,
    ),
]
Certificate = Annotated[
    str,
    typer.Option(
        "--cert",
        metavar="FILE|token",
        help="With --key: the file of its certificate, or token for the one stored with it.",
        rich_help_panel=_WHO,
    ),
]
SignatureProfile = Annotated[
    ProfileName, typer.Option("--profile", help="Signature profile (PS3.15 Annex C).", rich_help_panel=_WHAT)
]
Mac = Annotated[MacName, typer.Option("--mac", help="Hash.", rich_help_panel=_WHAT)]
AllowWeak = Annotated[bool, typer.Option("--allow-weak", help="Allow sha1, md5, ripemd160.", rich_help_panel=_WHAT)]
AllowUncovered = Annotated[
    bool,
    typer.Option(
        "--allow-uncovered",
        help="Sign even if identity or content (UN inside) cannot be covered.",
        rich_help_panel=_WHAT,
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Sign only this element (0010,0010 or PatientName) and those that the profile requires. Repeatable.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
TagFile = Annotated[
    Path | None,
    typer.Option(
        "--tag-file",
        metavar="FILE",
        help="Read the tags from a file, one on each line; # begins a comment.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
ItemPlace = Annotated[
    str | None,
    typer.Option(
        "--item",
        metavar="PLACE",
        help="Sign an Item: 'ReferencedImageSequence[0]'. Its signature fits its content in any other object, too.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Purpose = Annotated[
    int | None,
    typer.Option(
        "--purpose",
        metavar="N",
        min=1,
        max=18,
        help="The purpose of the signature: a number that hsm-dicom purposes lists.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
TimestampUrl = Annotated[
    str | None,
    typer.Option(
        "--timestamp",
        metavar="URL",
        help="Add a time stamp of this authority (RFC 3161). Without its response no file is written.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Repair = Annotated[
    bool, typer.Option("--repair", help="If a file is refused as it is, sign a clean copy and list the changes.")
]
TrimPadding = Annotated[
    bool,
    typer.Option(
        "--trim-padding",
        help="Sign a copy without surplus padding in strings, which DCMTK removes, and list the changes.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Skip files that an earlier run signed with the same request.")]


def sign(
    inputs: Files,
    out: Out = None,
    out_dir: OutDir = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    identity: IdentityName = None,
    key: KeyUri = None,
    cert: Certificate = "token",
    profile: SignatureProfile = ProfileName.BASE,
    mac: Mac = MacName.SHA256,
    allow_weak: AllowWeak = False,
    allow_uncovered: AllowUncovered = False,
    tag: Tags = None,
    tag_file: TagFile = None,
    item: ItemPlace = None,
    purpose: Purpose = None,
    timestamp: TimestampUrl = None,
    only: Only = None,
    repair: Repair = False,
    trim_padding: TrimPadding = False,
    resume: Resume = False,
    jobs: Jobs = 1,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Sign DICOM files with a key that stays on its token.

    Without --tag, everything that can be signed is signed, including the patient identity. A file that
    cannot be signed is reported, and the others are signed. Originals are never changed.
    """
    from hsm_dicom.cli import files
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.attempts import interruptible
    from hsm_dicom.cli.runs.signing import SigningRun
    from hsm_dicom.cli.runs.workers import open_workers

    destination = files.Destination(out, out_dir, in_place)
    if (identity is None) == (key is None):
        raise typer.BadParameter("Choose the signer: either --identity NAME, or --key KEY with --cert.")
    destination.require_outside(inputs)
    if (repair or trim_padding) and in_place:
        option = "--repair" if repair else "--trim-padding"
        raise typer.BadParameter(f"{option} never replaces an original; use it with --out or --out-dir.")
    chosen = files.expand(inputs, only)
    targets = destination.targets(chosen.inputs)
    tags, place = _tags(tag or (), tag_file), _place(item)
    with ExitStack() as stack:
        configuration = stack.enter_context(open_configuration(config))
        signer = stack.enter_context(_signer(configuration, identity, key, cert, pin, module))
        signer.require_current()
        request = _request(signer, profile, mac, tags, place, purpose)
        request = replace(request, allow_weak=allow_weak, allow_uncovered=allow_uncovered)
        request = replace(request, repair=repair, trim_padding=trim_padding)
        run = SigningRun(signer, request, json=json)
        run.leave_out(chosen.left_out)
        pairs = list(zip(chosen.inputs, targets, strict=True))
        executor = stack.enter_context(open_workers(jobs))
        with (
            interruptible(run.summarise) as stop,
            output.progress("Signing", len(pairs), quiet=json) as advance,
        ):
            run.sign(
                pairs,
                executor,
                advance,
                sessions=max(2, jobs),
                timestamp=_authority(timestamp),
                overwrite=overwrite,
                resume=resume,
                stop=stop,
            )
        run.summarise()
    raise typer.Exit(exits.FAILED if run.failed else exits.OK)


def _signer(
    configuration: Configuration, name: str | None, key: str | None, cert: str, pin: str | None, module: Path | None
) -> Identity:
    from hsm_dicom.cli.context import choose_pin_prompt, open_named_identity, parse_pin_option
    from hsm_dicom.cli.render import output
    from hsm_dicom.identity import Use, choose_identity, find_successions, load_identity

    if name is not None:
        signer = choose_identity(find_successions(configuration), name, Use.SIGNING)
        if signer != name:
            output.note(f"hsm-dicom: {signer} signs, the successor of {name}; hsm-dicom identity status shows both.")
        return load_identity(
            signer, configuration, pin=parse_pin_option(pin), default_pin=choose_pin_prompt(), use=None
        )
    file = None if cert == "token" else Path(cert)
    return open_named_identity(configuration, key or "", pin=pin, module=module, certificate=file)


def _request(
    signer: Identity,
    profile: ProfileName,
    mac: MacName,
    tags: tuple[int, ...] | None,
    item: ItemPath,
    purpose: int | None,
) -> SigningRequest:
    from cryptography.hazmat.primitives.serialization import Encoding

    from hsm_dicom.signatures import Profile, SigningRequest

    return SigningRequest(
        certificate=signer.certificate.public_bytes(Encoding.DER),
        profile=Profile(profile.value),
        mac=mac.value.upper(),
        tags=tags,
        item=item,
        purpose=purpose,
    )


def _tags(given: Iterable[str], file: Path | None) -> tuple[int, ...] | None:
    """Return the tags of --tag and --tag-file; None if neither is given. Raises `typer.BadParameter`."""
    from hsm_dicom.dataset.tags import TagError, parse_tag

    texts = [(text, "--tag") for text in given]
    if file is not None:
        texts += [(line, "--tag-file") for line in _lines(file)]
    elif not texts:
        return None
    tags = set()
    for text, option in texts:
        try:
            tags.add(parse_tag(text))
        except TagError as error:
            raise typer.BadParameter(str(error), param_hint=option) from None
    return tuple(sorted(tags))


def _lines(file: Path) -> list[str]:
    """Return the lines of a tag file without comments."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8 text; save it as UTF-8.", param_hint="--tag-file") from None
    return [line for full in text.splitlines() if (line := full.partition("#")[0].strip())]


def _place(item: str | None) -> ItemPath:
    """Return the path of --item, by default that of the main Data Set. Raises `typer.BadParameter`."""
    from hsm_dicom.dataset.tags import TagError, parse_path

    try:
        return () if item is None else parse_path(item)
    except TagError as error:
        raise typer.BadParameter(str(error), param_hint="--item") from None


def _authority(url: str | None) -> Timestamper | None:
    if url is None:
        return None
    from hsm_dicom.timestamps.client import TimestampAuthority

    return TimestampAuthority(url)
