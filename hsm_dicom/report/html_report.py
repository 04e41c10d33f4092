"""One self-contained HTML page for a run: no script, nothing from anywhere else, readable by eye, ear and printer.

Everything that comes from a file or a certificate is escaped and stripped of characters that are not printed, at the
one place where the template puts out a value. A Content Security Policy in the page forbids scripts and any loading.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from hsm_dicom.errors import DicomError
from hsm_dicom.report.html_views import FileView, file_view, look, run_view
from hsm_dicom.report.pictures import Picture, picture_of
from hsm_dicom.validation.result import WORST_FIRST
from hsm_dicom.validation.validator import Validator, Verdict

DETAILED = 500
"""Files of a run that the page tells in detail, so that the one of a whole archive is still opened by a browser."""

PICTURES = 200
"""Of these, the files that get a picture."""


class ReportError(DicomError):
    """The page could not be written. The sentence names the file and the remedy."""


def write_html(target: Path, verdicts: Sequence[Verdict], validator: Validator, *, pictures: int = PICTURES) -> None:
    """Write the page of a run; an older page of this name is replaced when the new one is complete.

    The first `pictures` files are opened again for their pictures; 0 makes a page without any. Raises ReportError.
    """
    part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        # A report contains names of patients: only its owner can read it until they widen the permissions.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as page:
            page.writelines(html_page(verdicts, validator, pictures=pictures))
        part.replace(target)
    except OSError as error:
        raise ReportError(f"{target}: the report cannot be written ({error.strerror}). Name another file.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def html_page(
    verdicts: Sequence[Verdict], validator: Validator, *, pictures: int = PICTURES, detailed: int = DETAILED
) -> Iterator[str]:
    """The page, in parts."""
    numbers = _choose_detailed(verdicts, detailed)
    template = _environment().get_template("page.html.j2")
    return template.generate(
        run=run_view(verdicts, validator),
        verdicts=verdicts,
        detailed=frozenset(numbers),
        look=look,
        files=_files(verdicts, numbers, pictures),
        written_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=version("hsm-dicom"),
    )


def _choose_detailed(verdicts: Sequence[Verdict], limit: int) -> list[int]:
    """The numbers of the files, from 1, the worst first, as they are chosen and as they follow on the page."""
    numbers = sorted(range(1, len(verdicts) + 1), key=lambda n: WORST_FIRST.index(verdicts[n - 1].outcome))
    return numbers[:limit]


def _files(verdicts: Sequence[Verdict], numbers: Iterable[int], pictures: int) -> Iterator[tuple[FileView, Picture]]:
    for count, number in enumerate(numbers, start=1):
        verdict = verdicts[number - 1]
        if verdict.problem:
            picture = Picture("")
        elif count > pictures:
            picture = Picture("No picture: only the first files of a long run have one." if pictures else "")
        else:
            picture = picture_of(verdict.name, unchanged_since=verdict.validated_at)
        yield file_view(number, verdict), picture


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("hsm_dicom.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )


def _printable(value: object) -> object:
    """A text without controls, bidirectional overrides and lone surrogates; any other value as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(character if character.isprintable() else _stand_in(character) for character in value)


def _stand_in(character: str) -> str:
    return " " if unicodedata.category(character) == "Zs" else "\N{REPLACEMENT CHARACTER}"
