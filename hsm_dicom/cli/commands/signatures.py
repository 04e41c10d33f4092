"""`hsm-dicom signatures`: list and remove the signatures in a file; request and add time stamps offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli.options import Files, Json, OutDir, Overwrite, Verbose

if TYPE_CHECKING:
    from hsm_dicom.signatures.listing import ListedSignature

app = typer.Typer(help="Signatures in files: list them, remove them, add a time stamp.", no_args_is_help=True)

OneFile = Annotated[Path, typer.Argument(metavar="FILE", help="A signed DICOM file.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the result.", show_default=False)
]
SaveCertificates = Annotated[
    Path | None,
    typer.Option(
        "--save-certificate",
        metavar="FOLDER",
        help="Write each signer's certificate to FOLDER, as PEM, named by the Digital Signature UID.",
        show_default=False,
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the file itself.")]


@app.command("list", epilog="Example: hsm-dicom signatures list signed.dcm")
def list_signatures(
    files: Files, save_certificates: SaveCertificates = None, json: Json = False, verbose: Verbose = False
) -> None:
    """List what signatures say of themselves. Nothing is checked: that is for hsm-dicom verify."""
    from hsm_dicom.cli.files import expand
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.attempts import Attempts
    from hsm_dicom.signatures.listing import list_signatures, save_certificate

    chosen = expand(files)
    attempts = Attempts()
    attempts.leave_out(chosen.left_out)
    for item in chosen.inputs:
        with attempts.at(item.path):
            found = list_signatures(item.path)
            if save_certificates is not None:
                for one in found:
                    save_certificate(one, save_certificates)
            if json:
                listed = [_signature_json(one) for one in found]
                output.write_json("signatures", {"file": str(item.path), "signatures": listed})
            else:
                _print_list(item.path, found)
    raise typer.Exit(attempts.status)


@app.command("remove", epilog="Example: hsm-dicom signatures remove signed.dcm --uid 2.25.1234 --out unsigned.dcm")
def remove(
    file: OneFile,
    uid: Annotated[
        list[str], typer.Option("--uid", metavar="UID", help="Digital Signature UID. Repeatable.", show_default=False)
    ],
    out: Out = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Remove signatures by their UIDs; the MAC Parameters that only they used go with them."""
    from hsm_dicom.cli.files import Destination, one_file
    from hsm_dicom.cli.render import output
    from hsm_dicom.signatures.amend import remove

    [target] = Destination(out, None, in_place).targets(one_file(file))
    gone = remove(file, uid, target, overwrite=overwrite)
    output.outcome(True, f"{output.count(len(gone), 'signature')} removed; {output.shown(str(target or file))}")


@app.command("remove-all", epilog="Example: hsm-dicom signatures remove-all signed/ --out-dir unsigned/")
def remove_all(
    files: Files,
    out: Out = None,
    out_dir: OutDir = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Remove all signatures at all levels. What Original Attributes Sequence keeps as history stays."""
    from hsm_dicom.cli.files import Destination, expand
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.attempts import Attempts
    from hsm_dicom.signatures.amend import remove_all

    destination = Destination(out, out_dir, in_place)
    destination.require_outside(files)
    chosen = expand(files)
    targets = destination.targets(chosen.inputs)
    attempts = Attempts()
    attempts.leave_out(chosen.left_out)
    for item, target in zip(chosen.inputs, targets, strict=True):
        with attempts.at(item.path):
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
            gone = remove_all(item.path, target, overwrite=overwrite)
            where = output.shown(str(target or item.path))
            output.outcome(True, f"{output.count(len(gone), 'signature')} removed; {where}")
    raise typer.Exit(attempts.status)


@app.command("ask-timestamp", epilog="Example: hsm-dicom signatures ask-timestamp signed.dcm --query ct.tsq")
def ask_timestamp(
    file: OneFile,
    query: Annotated[
        Path, typer.Option("--query", metavar="FILE", help="The query to carry to the authority.", show_default=False)
    ],
    uid: Annotated[
        str | None,
        typer.Option("--uid", metavar="UID", help="Of which signature, where there are several.", show_default=False),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """For nodes without a network: write a time stamp query (RFC 3161), with a .uid file that names the signature."""
    from hsm_dicom.cli.render import output
    from hsm_dicom.dataset import DicomFile
    from hsm_dicom.signatures.unquestioned import require_unquestioned
    from hsm_dicom.signing import find_signature
    from hsm_dicom.timestamps.files import write_query
    from hsm_dicom.timestamps.protocol import make_request

    signature = find_signature(file, uid)
    with DicomFile.open(file) as opened:
        require_unquestioned(opened)
    write_query(make_request(signature.signature), signature.uid, query, query.with_suffix(".uid"))
    output.outcome(True, f"{query} and {query.with_suffix('.uid')} are written. At the authority, for example:")
    output.say_verbatim(f"openssl ts -reply -queryfile {query} -out {query.with_suffix('.tsr')} …", indent=2)
    output.say("Then, with the reply beside the query:")
    output.say_verbatim(f"hsm-dicom signatures add-timestamp {file} --query {query} --in-place", indent=2)


@app.command("add-timestamp", epilog="Example: hsm-dicom signatures add-timestamp signed.dcm --query ct.tsq --in-place")
def add_timestamp(
    file: OneFile,
    query: Annotated[
        Path, typer.Option("--query", metavar="FILE", help="The query that was carried out.", show_default=False)
    ],
    reply: Annotated[
        Path | None,
        typer.Option("--reply", metavar="FILE", help="Its reply; else the .tsr beside it.", show_default=False),
    ] = None,
    out: Out = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Store the reply of a time stamp authority with the signature that it is for, after checking that it fits."""
    from hsm_dicom.cli.files import Destination, one_file
    from hsm_dicom.cli.render import output
    from hsm_dicom.signatures.amend import add_timestamp
    from hsm_dicom.signing import read_reply_for

    [target] = Destination(out, None, in_place).targets(one_file(file))
    stored, verdict = read_reply_for(file, query, reply or query.with_suffix(".tsr"), query.with_suffix(".uid"))
    add_timestamp(file, stored.signature_uid, stored.token, target, overwrite=overwrite)
    words = f"Existed at {verdict.time:%Y-%m-%d %H:%M:%S} UTC, says {verdict.authority}."
    output.outcome(True, f"{output.shown(words)} Stored in {output.shown(str(target or file))}")


def _print_list(file: Path, found: Sequence[ListedSignature]) -> None:
    from hsm_dicom.cli.render import output
    from hsm_dicom.dataset.tags import describe_tag, format_path

    output.say_verbatim(output.shown(str(file)), style="bold")
    if not found:
        output.say("no signature", indent=2)
    for one in found:
        output.say(output.shown(one.uid) or "(no UID)", indent=2)
        rows = [("signer", output.shown(_subject(one.certificate)))]
        rows += [("time", f"{one.signed_at:%Y-%m-%d %H:%M:%S %Z}" if one.signed_at else output.shown(one.date_time))]
        rows += [("place", output.shown(format_path(one.place)) or "the whole object")]
        rows += [("lists", f"{output.count(len(one.tags), 'element')}: {', '.join(map(describe_tag, one.tags))}")]
        rows += [("hash", output.shown(one.mac_algorithm)), ("encoding", output.shown(one.mac_transfer_syntax))]
        rows += [("purpose", output.shown(str(one.purpose)))] if one.purpose else []
        rows += [("stamped", "a time stamp is there")] if one.timestamped else []
        rows += [("history", "it is kept in Original Attributes Sequence")] if one.historic else []
        rows += [("defect", output.shown(one.defect))] if one.defect else []
        output.facts(rows, indent=4)


def _signature_json(one: ListedSignature) -> dict[str, Any]:
    from hsm_dicom.dataset.tags import format_path, format_tag

    return {
        "uid": one.uid,
        "item_path": format_path(one.place),
        "number": one.number,
        "date_time": one.date_time,
        "mac_id": one.mac_id,
        "mac_algorithm": one.mac_algorithm,
        "mac_transfer_syntax": one.mac_transfer_syntax,
        "elements": [format_tag(tag) for tag in one.tags],
        "signer": _subject(one.certificate) or None,
        "purpose": str(one.purpose) if one.purpose else None,
        "timestamped": one.timestamped,
        "historic": one.historic,
        "defect": one.defect or None,
    }


def _subject(certificate: bytes) -> str:
    from hsm_dicom.validation.trust import read_subject

    return read_subject(certificate)
