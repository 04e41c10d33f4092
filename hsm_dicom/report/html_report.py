"""One self-contained HTML page for a run: no script and no external resource; suits screen readers and printers.

Text from a file or a certificate is escaped, and its unprintable characters are replaced, in the function through which
the template outputs every value. A Content Security Policy in the page forbids scripts and any loading.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from hsm_dicom.errors import DicomError
from hsm_dicom.report.environment import make_environment
from hsm_dicom.report.html_views import FileView, file_view
from hsm_dicom.report.pictures import Picture, picture_of
from hsm_dicom.report.run_view import run_view
from hsm_dicom.validation import PolicyValidator
from hsm_dicom.validation.result import WORST_FIRST
from hsm_dicom.validation.validator import Validator, Verdict

DETAILED = 500
"""Files that the page shows in detail at most, so that a browser can still open the page of a whole archive."""

PICTURES = 200
"""Files with a picture at most."""


class ReportError(DicomError):
    """The page could not be written. The message has the file and the remedy."""


def write_html(
    target: Path,
    verdicts: Sequence[Verdict],
    validator: Validator | PolicyValidator,
    *,
    pictures: int = PICTURES,
) -> None:
    """Write the page of a run; replace an older page of this name when the new one is complete.

    The first `pictures` files are opened again for their pictures; 0 means none. Raises ReportError.
    """
    write_page(target, html_page(verdicts, validator, pictures=pictures))


def write_page(target: Path, parts: Iterable[str]) -> None:
    """Write the parts of a page; replace an older page of this name when the new one is complete.

    Raises ReportError.
    """
    part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        # A report contains names of patients: only its owner can read it until they widen the permissions.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as page:
            page.writelines(parts)
        part.replace(target)
    except OSError as error:
        raise ReportError(f"{target}: the report cannot be written ({error.strerror}). Name another file.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def html_page(
    verdicts: Sequence[Verdict],
    validator: Validator | PolicyValidator,
    *,
    pictures: int = PICTURES,
    detailed: int = DETAILED,
) -> Iterator[str]:
    """Generate the page in parts."""
    numbers = _choose_detailed(verdicts, detailed)
    template = make_environment().get_template("page.html.j2")
    return template.generate(
        run=run_view(verdicts, validator),
        total=len(verdicts),
        detailed=frozenset(numbers),
        files=_files(verdicts, numbers, pictures),
        written_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=version("hsm-dicom"),
    )


def _choose_detailed(verdicts: Sequence[Verdict], limit: int) -> list[int]:
    """Return the numbers, from 1, of the files to show in detail, worst first."""
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
