"""The Transfer Syntax of a Data Set without File Meta Information (PS3.10 7.1)."""

from __future__ import annotations

from hsm_dicom.dataset.errors import DicomFileError, NotDicomError
from hsm_dicom.dataset.octets.source import Source, inflate
from hsm_dicom.dataset.transfer_syntax import NATIVE, TransferSyntax
from hsm_dicom.dataset.walk.walker import Walker

_SMALLEST_GROUP = 0x0008


def find_bare_syntax(source: Source) -> TransferSyntax:
    """Return the one Transfer Syntax in which the whole source is a Data Set of PS3.3, to its last octet.

    Raises NotDicomError where there is none, or more than one: compressed Pixel Data in fragments looks alike in all
    Transfer Syntaxes that have fragments.
    """
    fitting = [syntax for syntax in NATIVE if _fits(source, syntax)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and _fits(source, TransferSyntax("", encapsulated=True)):
        raise NotDicomError(
            source.name,
            "a Data Set without File Meta Information whose Pixel Data is compressed; nothing says in which way.",
        )
    if fitting:
        names = " and ".join(syntax.uid for syntax in fitting)
        raise NotDicomError(source.name, f"a Data Set without File Meta Information that reads as {names} alike.")
    raise NotDicomError(source.name, "not a DICOM file: the prefix DICM of PS3.10 is missing.")


def _fits(source: Source, syntax: TransferSyntax) -> bool:
    try:
        plain = inflate(source, 0) if syntax.deflated else source
    except DicomFileError:
        return False
    try:
        elements = Walker(plain, syntax).data_set(0, plain.size)
    except DicomFileError:
        return False
    finally:
        if plain is not source:
            plain.close()
    return bool(elements) and elements[0].tag >> 16 >= _SMALLEST_GROUP
