"""What is in the PDUs of association negotiation and of abort, checked before pynetdicom sees it (PS3.8, 9.3.2-9.3.8).

pynetdicom decodes such PDUs in threads of its own, and what it does not expect ends those threads. So each PDU is taken
apart here: item lengths, presentation contexts and codes must be right, or `PDUError` says what is wrong. Items of
types that the standard does not define are left out (PS3.8, 9.3.1). What remains is decoded once by pynetdicom, as the
last check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    HEADER,
    INVALID_PARAMETER,
    PDU,
)

_FIXED = HEADER + 68
"""Where the variable items of an A-ASSOCIATE-RQ or -AC begin (PS3.8, Tables 9-11 and 9-17)."""

_CALLED, _CALLING, _TITLE = HEADER + 4, HEADER + 20, 16
"""Where the AE titles are in an A-ASSOCIATE-RQ, and how long they are."""

_ITEM_HEADER = 4
_APPLICATION_CONTEXT = 0x10
_PROPOSED, _ANSWERED = 0x20, 0x21
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_USER_INFORMATION = 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS = 0x51, 0x52
_USER_ITEMS = range(0x51, 0x5A)
_ACCEPTED = 0

_UID = re.compile(rb"[0-9.]{1,64}\Z")
_REJECTIONS = {1: range(1, 11), 2: range(1, 3), 3: range(8)}
"""Reasons of an A-ASSOCIATE-RJ by its source (PS3.8, Table 9-21)."""

_ABORT_REASONS = {0: (0,), 2: (0, 1, 2, 4, 5, 6)}
"""Reasons of an A-ABORT by its source (PS3.8, Table 9-26)."""


@dataclass(frozen=True)
class Proposal:
    """One proposed presentation context: an abstract syntax, and the Transfer Syntaxes in the peer's order."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ that is sound. `received` is the PDU as it came."""

    calling_ae_title: str
    called_ae_title: str
    speaks_version_1: bool
    contexts: Mapping[int, Proposal]
    received: bytes = field(repr=False)

    @cached_property
    def data(self) -> bytes:
        """The PDU for pynetdicom, without items of unknown types. Raises `PDUError` if pynetdicom cannot decode it.

        Decoding takes 0.15 ms for each presentation context, so it is left out where only octets pass.
        """
        pdu = PDU(ASSOCIATE_RQ, self.received)
        titles = _keep_known(self.called_ae_title), _keep_known(self.calling_ae_title)
        data = _rewrite(self.received, _sound_items(pdu), *titles)
        _try_decoding(A_ASSOCIATE_RQ, data, pdu.name)
        return data


@dataclass(frozen=True)
class ContextAnswer:
    """The answer to one presentation context in an A-ASSOCIATE-AC; `at` is where its result is in the PDU."""

    context_id: int
    result: int
    transfer_syntax: str
    at: int


def list_answers(pdu: PDU) -> list[ContextAnswer]:
    """List the answers in an A-ASSOCIATE-AC, whose items must cover it exactly. Raises `PDUError`.

    The Transfer Syntax of a context that is not accepted is empty, because it is not significant (PS3.8, 9.3.3.2).
    """
    if len(pdu.data) < _FIXED:
        raise _make_malformed_error(f"an {pdu.name} of {len(pdu.data)} bytes, which is cut off")
    answers = []
    for kind, start, end in _items(pdu.data, _FIXED, len(pdu.data), f"the {pdu.name}"):
        if kind == _ANSWERED:
            number, result, syntaxes = _answer(pdu.data, start, end)
            answers.append(ContextAnswer(number, result, syntaxes[0] if syntaxes else "", start + 2))
    return answers


def read_maximum_length(pdu: PDU) -> int:
    """Return the longest P-DATA-TF that the sender of an A-ASSOCIATE-RQ or -AC takes, in bytes; 0 for no limit.

    See PS3.8, D.1. Raises `PDUError` if the PDU is malformed.
    """
    for kind, start, end in _sound_items(pdu):
        if kind == _USER_INFORMATION:
            for sub, first, last in _items(pdu.data, start, end, "the user information"):
                if sub == _MAXIMUM_LENGTH:
                    return int.from_bytes(pdu.data[first:last], "big")
    return 0


def copy_titles(source: bytes, target: bytearray) -> None:
    """Write both AE titles of one A-ASSOCIATE PDU over those of another, octet for octet."""
    end = _CALLING + _TITLE
    target[_CALLED:end] = source[_CALLED:end]


def write_titles(data: bytearray, called: str | None, calling: str | None) -> None:
    """Write AE titles into an A-ASSOCIATE-RQ, padded with spaces (PS3.8, Table 9-11). None leaves one as it is."""
    for title, at in ((called, _CALLED), (calling, _CALLING)):
        if title is not None:
            data[at : at + _TITLE] = title.encode("ascii").ljust(_TITLE)[:_TITLE]


def read_request(pdu: PDU) -> AssociateRequest:
    """Check an A-ASSOCIATE-RQ. Raises `PDUError`."""
    data = pdu.data
    items = _sound_items(pdu)
    contexts: dict[int, Proposal] = {}
    for kind, start, end in items:
        if kind == _PROPOSED:
            number, proposal = _proposal(data, start, end)
            if number in contexts:
                raise _make_malformed_error(f"the presentation context ID {number} twice")
            contexts[number] = proposal
    if not contexts:
        raise _make_malformed_error("no presentation context")
    called, calling = _title(data, _CALLED), _title(data, _CALLING)
    version = int.from_bytes(data[HEADER : HEADER + 2], "big")
    return AssociateRequest(
        calling_ae_title=calling,
        called_ae_title=called,
        speaks_version_1=bool(version & 1),
        contexts=contexts,
        received=data,
    )


def read_answer(pdu: PDU, proposed: Mapping[int, Proposal]) -> bytes:
    """Check what a peer may send besides data: its A-ASSOCIATE-AC must answer what was proposed. Raises `PDUError`.

    Returns the PDU for pynetdicom: without unknown items, and with an abort reason that the standard has.
    """
    if pdu.type == ASSOCIATE_AC:
        return _rewrite_accepted(pdu, proposed)
    if pdu.type == ASSOCIATE_RJ:
        result, source, reason = pdu.data[HEADER + 1 :]
        if result not in (1, 2) or reason not in _REJECTIONS.get(source, ()):
            raise _make_malformed_error(
                f"an A-ASSOCIATE-RJ with unknown codes (result {result}, source {source}, reason {reason})"
            )
    if pdu.type == ABORT:
        source, reason = pdu.data[HEADER + 2 :]
        if reason not in _ABORT_REASONS.get(source, ()):
            return pdu.data[: HEADER + 2] + bytes([source if source in _ABORT_REASONS else 0, 0])
    return pdu.data


def _rewrite_accepted(pdu: PDU, proposed: Mapping[int, Proposal]) -> bytes:
    items = _sound_items(pdu)
    answered: set[int] = set()
    for kind, start, end in items:
        if kind != _ANSWERED:
            continue
        number, result, syntaxes = _answer(pdu.data, start, end)
        if number not in proposed:
            raise _make_malformed_error(f"an answer to presentation context {number}, which was not proposed")
        if number in answered:
            raise _make_malformed_error(f"two answers to presentation context {number}")
        answered.add(number)
        if result == _ACCEPTED and (len(syntaxes) != 1 or syntaxes[0] not in proposed[number].transfer_syntaxes):
            named = ", ".join(repr(syntax) for syntax in syntaxes) or "none"
            raise _make_malformed_error(
                f"a Transfer Syntax ({named}) that was not proposed in presentation context {number}"
            )
    # PS3.8, 9.3.3: the fields of the AE titles are reserved in an A-ASSOCIATE-AC, and not tested.
    data = _rewrite(pdu.data, items, b"NOT TESTED", b"NOT TESTED")
    _try_decoding(A_ASSOCIATE_AC, data, pdu.name)
    return data


def _proposal(data: bytes, start: int, end: int) -> tuple[int, Proposal]:
    number = _context_id(data, start, end)
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, first, last in _items(data, start + 4, end, f"presentation context {number}"):
        if kind == _ABSTRACT_SYNTAX:
            abstract.append(_uid(data[first:last], f"the abstract syntax of presentation context {number}"))
        elif kind == _TRANSFER_SYNTAX:
            transfer.append(_uid(data[first:last], f"a Transfer Syntax of presentation context {number}"))
        else:
            raise _make_malformed_error(f"an item of type {kind:02X}H in presentation context {number}")
    if len(abstract) != 1:
        raise _make_malformed_error(f"{len(abstract) or 'no'} abstract syntaxes in presentation context {number}")
    if not transfer:
        raise _make_malformed_error(f"no Transfer Syntax in presentation context {number}")
    return number, Proposal(abstract[0], tuple(transfer))


def _answer(data: bytes, start: int, end: int) -> tuple[int, int, list[str]]:
    number = _context_id(data, start, end)
    result = data[start + 2]
    if result > 4:
        raise _make_malformed_error(f"the unknown result {result} for presentation context {number}")
    syntaxes = []
    for kind, first, last in _items(data, start + 4, end, f"presentation context {number}"):
        if kind != _TRANSFER_SYNTAX:
            raise _make_malformed_error(f"an item of type {kind:02X}H in presentation context {number}")
        # Of a context that is not accepted, the Transfer Syntax is not significant (PS3.8, 9.3.3.2).
        if result == _ACCEPTED:
            syntaxes.append(_uid(data[first:last], f"the Transfer Syntax of presentation context {number}"))
    return number, result, syntaxes


def _context_id(data: bytes, start: int, end: int) -> int:
    if end - start < 4:
        raise _make_malformed_error("a presentation context without an ID")
    number = data[start]
    if number % 2 == 0:
        raise _make_malformed_error(f"the presentation context ID {number}, which is not odd")
    return number


_Items = list[tuple[int, int, int]]


def _sound_items(pdu: PDU) -> _Items:
    """Return type, start and end of each item of an A-ASSOCIATE-RQ or -AC, and require those that must be there."""
    data = pdu.data
    if len(data) < _FIXED:
        raise _make_malformed_error(
            f"an {pdu.name} of {len(data) - HEADER} bytes, which has {_FIXED - HEADER} at the least"
        )
    items = list(_items(data, _FIXED, len(data), f"the {pdu.name}"))
    kinds = [kind for kind, _, _ in items]
    for kind, name in ((_APPLICATION_CONTEXT, "application context"), (_USER_INFORMATION, "user information")):
        if kinds.count(kind) != 1:
            raise _make_malformed_error(f"{kinds.count(kind) or 'no'} items of {name} in the {pdu.name}")
    for kind, start, end in items:
        if kind == _APPLICATION_CONTEXT:
            _uid(data[start:end], "the application context name")
        elif kind == _USER_INFORMATION:
            _check_user_information(data, start, end)
    return items


def _check_user_information(data: bytes, start: int, end: int) -> None:
    kinds = []
    for kind, first, last in _items(data, start, end, "the user information"):
        kinds.append(kind)
        if kind == _MAXIMUM_LENGTH and last - first != 4:
            raise _make_malformed_error(f"a maximum length of {last - first} bytes instead of 4")
        if kind == _IMPLEMENTATION_CLASS:
            _uid(data[first:last], "the implementation class UID")
    for kind, name in ((_MAXIMUM_LENGTH, "maximum length"), (_IMPLEMENTATION_CLASS, "implementation class UID")):
        if kinds.count(kind) != 1:
            raise _make_malformed_error(f"{kinds.count(kind) or 'no'} items of {name} in the user information")


def _items(data: bytes, start: int, end: int, where: str) -> Iterator[tuple[int, int, int]]:
    at = start
    while at < end:
        content = at + _ITEM_HEADER
        if content > end:
            raise _make_malformed_error(f"an item that is cut off in {where}")
        kind = data[at]
        at = content + int.from_bytes(data[at + 2 : content], "big")
        if at > end:
            raise _make_malformed_error(f"an item of type {kind:02X}H that is longer than {where}")
        yield kind, content, at


def _rewrite(data: bytes, items: _Items, called: bytes, calling: bytes) -> bytes:
    """Encode the PDU for pynetdicom: version 1, titles padded with spaces, no items of unknown types."""
    body = bytearray(b"\0\1\0\0" + called.ljust(_TITLE) + calling.ljust(_TITLE) + bytes(32))
    for kind, start, end in items:
        content = data[start:end]
        if kind == _USER_INFORMATION:
            content = b"".join(
                data[first - _ITEM_HEADER : last]
                for sub, first, last in _items(data, start, end, "the user information")
                if sub in _USER_ITEMS
            )
        elif kind not in (_APPLICATION_CONTEXT, _PROPOSED if data[0] != ASSOCIATE_AC else _ANSWERED):
            continue
        body += bytes([kind, 0]) + len(content).to_bytes(2, "big") + content
    return data[:2] + len(body).to_bytes(4, "big") + bytes(body)


def _try_decoding(kind: type[A_ASSOCIATE_RQ] | type[A_ASSOCIATE_AC], data: bytes, name: str) -> None:
    try:
        decoded = kind()
        decoded.decode(data)
        decoded.to_primitive()
    except Exception as error:  # a foreign parser on bytes from the network
        raise _make_malformed_error(f"an {name} that cannot be decoded ({type(error).__name__})") from error


def _uid(value: bytes, what: str) -> str:
    text = value.rstrip(b"\0 ")
    if not _UID.match(text):
        raise _make_malformed_error(f"{what} that is no UID")
    return text.decode("ascii")


def _title(data: bytes, at: int) -> str:
    """Read an AE title field (PS3.5, 6.2) without its padding, which some devices make of zeros."""
    return data[at : at + _TITLE].rstrip(b"\0 ").lstrip(b" ").decode("latin-1")


def _keep_known(title: str) -> bytes:
    """Return the title for pynetdicom; "?" for one that is not valid, which no peer has and which is rejected."""
    sound = title.isascii() and title.isprintable() and "\\" not in title
    return title.encode("ascii") if title and sound else b"?"


def _make_malformed_error(what: str) -> PDUError:
    return PDUError(what, INVALID_PARAMETER)
