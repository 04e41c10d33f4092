"""Errors of a walk, each with file, offset, tag and a one-sentence reason (PS3.5 7.1, 7.5)."""

from __future__ import annotations

from typing import NoReturn

from hsm_dicom.dataset.errors import MalformedDataSetError, OverrunError
from hsm_dicom.dataset.octets.source import Source
from hsm_dicom.dataset.tags import format_tag


class Refusals:
    """Base class that raises the errors of a walker; offsets refer to its source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def _check_zero_length(self, pos: int, tag: int, length: int) -> None:
        if length:
            self._fail(pos, tag, f"the delimiter has a length of {length} instead of zero.")

    def _refuse_misplaced(self, pos: int, tag: int, previous: int) -> NoReturn:
        if tag >> 16 == 0xFFFE:
            self._fail(pos, tag, "an Item or delimiter stands where a Data Element should begin.")
        if tag == previous:
            self._fail(pos, tag, "the element is there twice; readers would differ on which of the two counts.")
        self._fail(pos, tag, f"it comes after {format_tag(previous)}, but PS3.5 7.1 demands ascending tags.")

    def _bad_length(self, pos: int, tag: int, length: int, stop: int, end: int) -> NoReturn:
        if stop > end:
            self._overrun(pos, tag, length, stop, end)
        self._fail(pos, tag, f"its length, {length} bytes, is odd, which PS3.5 7.1.1 forbids.")

    def _refuse_number(self, pos: int, tag: int, most: int) -> NoReturn:
        self._fail(pos, tag, f"the Data Set has more than {most} elements; refused.")

    def _overrun(self, pos: int, tag: int, length: int, stop: int, end: int) -> NoReturn:
        where = "the end of the file" if end >= self._source.size else "the end of what holds it"
        problem = f"its length, {length} bytes, reaches {stop - end} bytes past {where}."
        raise OverrunError(self._source.name, pos, tag, problem, stop)

    def _fail(self, pos: int, tag: int | None, problem: str) -> NoReturn:
        raise MalformedDataSetError(self._source.name, pos, tag, problem)
