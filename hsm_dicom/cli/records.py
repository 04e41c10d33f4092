"""Records of ceremonies: the one way in which every command that changes a token says, and writes down, what it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from cryptography import x509

    from hsm_dicom.report.record import CeremonyRecord
    from tokens.pkcs11.objects import KeyEntry
    from tokens.pkcs11.search import TokenInfo
    from tokens.pkcs11.secret_keys.ceremony import SecretEntry


@dataclass
class Ceremony:
    """The ceremony of one command: what it is about, for its record and for what it prints."""

    record: CeremonyRecord
    file: Path | None
    """Where the record is written, if it is."""

    def set_token(self, token: TokenInfo) -> None:
        """Set the token. From then on there is a record, whether the command succeeds or not."""
        from hsm_dicom.cli.render.token_report import token_json

        self.record.device = token.description
        self.record.token = token_json(token)

    def set_key(self, entry: KeyEntry) -> None:
        """Set the key, as it is on the token."""
        from hsm_dicom.cli.render.key_report import key_json

        self.record.key = {name: value for name, value in key_json(entry).items() if name != "certificates"}
        self.set_certificates(entry.certificates)

    def set_certificates(self, certificates: Sequence[x509.Certificate]) -> None:
        """Set the certificates that were stored or deleted."""
        from hsm_dicom.cli.render.key_report import certificate_json

        self.record.certificates = [certificate_json(one) for one in certificates]

    def set_secret(self, entry: SecretEntry) -> None:
        """Set the secret key."""
        from hsm_dicom.cli.render.secret_report import secret_json

        self.record.secret_key = secret_json(entry)

    def print(self) -> None:
        """Print who did it, when, on which device, with which key, and where the record is."""
        from hsm_dicom.cli.render import output
        from hsm_dicom.operators import current_operator
        from hsm_dicom.report.record import page_of

        record, operator = self.record, current_operator()
        login = "" if operator.login == operator.name else f" (login {operator.login})"
        rows = [("by", f"{operator.name}{login} on {operator.host}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")]
        if record.token is not None:
            kind = f"{record.token['manufacturer']} {record.token['model']}".strip()
            rows.append(("on", f"{record.device}, {kind}, firmware {record.token['firmware']}"))
        elif record.device:
            rows.append(("on", record.device))
        key = record.key or (record.steps[-1] if record.steps else {})
        if key.get("spki_sha256"):
            rows.append(("fingerprint", f"SHA-256 {key['spki_sha256']}"))
        if self.file is not None:
            rows.append(("record", f"{self.file} and {page_of(self.file)}"))
        output.facts(rows)


@contextmanager
def keep_record(command: str, file: Path | None) -> Iterator[Ceremony]:
    """Collect what a command does to a token during the block, and write the record when it ends, if a file is given.

    A command that fails has a record too, once its token is known or a step was begun. Raises `typer.BadParameter` at
    once if the record could not be written, and `ReportError` if that fails at the end.
    """
    from hsm_dicom.cli.errors import sentence
    from hsm_dicom.events import subscribe
    from hsm_dicom.report.record import CeremonyRecord

    if file is not None:
        _check_file(file)
    ceremony = Ceremony(CeremonyRecord(command), file)
    with subscribe(ceremony.record.add_event):
        try:
            yield ceremony
        except BaseException as error:
            if ceremony.record.device or ceremony.record.steps:
                _write(ceremony, sentence(error) if isinstance(error, Exception) else "The command was interrupted.")
            raise
    _write(ceremony, None)


def _write(ceremony: Ceremony, failure: str | None) -> None:
    from hsm_dicom.cli.render import output
    from hsm_dicom.report import ReportError
    from hsm_dicom.report.record import page_of, write_record

    if ceremony.file is None:
        return
    try:
        write_record(ceremony.file, ceremony.record.make_document(failure))
    except ReportError as error:
        ended = "was done" if failure is None else "failed"
        raise ReportError(f"{ceremony.record.command} {ended}, but its record could not be written: {error}") from error
    if failure is not None:
        output.note(f"hsm-dicom: the failure is on record in {ceremony.file} and {page_of(ceremony.file)}.")


def _check_file(file: Path) -> None:
    """Raise `typer.BadParameter` if a record has another ending, or would replace a file, or has no folder."""
    import os

    from hsm_dicom.report.record import page_of

    if file.suffix != ".json":
        raise typer.BadParameter(
            f"{file} does not end with .json. Write --record {file.with_suffix('.json')}: the page for people is "
            f"written beside it, with .html.",
            param_hint="--record",
        )
    for path in (file, page_of(file)):
        if path.exists():
            raise typer.BadParameter(
                f"{path} exists, and a record is not replaced. Give another name.", param_hint="--record"
            )
    if not (file.parent.is_dir() and os.access(file.parent, os.W_OK | os.X_OK)):
        raise typer.BadParameter(
            f"{file.parent} is no folder in which you may write. Give another one.", param_hint="--record"
        )
