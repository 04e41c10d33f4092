"""The A-ASSOCIATE-RQ and -AC as the relay sends them: changed only in place, and never encoded anew (PS3.8, 9.3.2-3).

Whatever both sides negotiate besides presentation contexts passes untouched: role selection, asynchronous operations,
user identity, extended negotiation, and the maximum length of PDUs, which is always the receiver's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hsm_dicom.gateway.services import is_admitted
from hsm_dicom.gateway.settings import RouteSettings
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest, copy_titles, list_answers, write_titles
from hsm_dicom.network.upper_layer.pdu import INVALID_PARAMETER, PDU

_ACCEPTED, _NO_REASON = 0, 2
"""Results of a presentation context: acceptance, and provider rejection without a reason (PS3.8, Table 9-18)."""


@dataclass(frozen=True)
class Acceptance:
    """The A-ASSOCIATE-AC for the caller, the contexts that are in use, and the abstract syntaxes that are refused."""

    data: bytes
    contexts: Mapping[int, AcceptedContext]
    refused: tuple[str, ...]


def make_request(request: AssociateRequest, settings: RouteSettings) -> bytes:
    """Return the A-ASSOCIATE-RQ for the target: the octets that came, with the AE titles that the route sets."""
    if settings.called_ae_title is None and settings.calling_ae_title is None:
        return request.received
    data = bytearray(request.received)
    write_titles(data, settings.called_ae_title, settings.calling_ae_title)
    return bytes(data)


def make_acceptance(answer: PDU, request: AssociateRequest, settings: RouteSettings) -> Acceptance:
    """Return what becomes of the target's A-ASSOCIATE-AC. Raises `PDUError` if it does not answer the request.

    Contexts of services that the route does not admit are refused. If the route sets AE titles, the caller gets back
    those that it sent, because requestors compare them.
    """
    data = bytearray(answer.data)
    contexts: dict[int, AcceptedContext] = {}
    refused: list[str] = []
    seen: set[int] = set()
    for one in list_answers(answer):
        proposal = request.contexts.get(one.context_id)
        if proposal is None:
            what = f"an answer to presentation context {one.context_id}, which was not proposed"
            raise PDUError(what, INVALID_PARAMETER)
        if one.context_id in seen:
            raise PDUError(f"two answers to presentation context {one.context_id}", INVALID_PARAMETER)
        seen.add(one.context_id)
        if one.result != _ACCEPTED:
            continue
        if is_admitted(proposal.abstract_syntax, settings.services):
            contexts[one.context_id] = AcceptedContext(proposal.abstract_syntax, one.transfer_syntax)
        else:
            data[one.at] = _NO_REASON
            refused.append(proposal.abstract_syntax)
    if settings.called_ae_title is not None or settings.calling_ae_title is not None:
        copy_titles(request.received, data)
    return Acceptance(bytes(data), contexts, tuple(dict.fromkeys(refused)))
