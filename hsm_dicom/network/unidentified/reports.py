"""The events of connections that are not identified, and of the address on which they arrive."""

from __future__ import annotations

from hsm_dicom.events import emit
from hsm_dicom.network.addresses import Address, format_address
from hsm_dicom.network.unidentified.pending import Pending
from hsm_dicom.tls import HandshakeError
from hsm_dicom.transport.events import AddressMissing, ConnectionRejected, HandshakeFailed


def report_missing_address(name: str, address: Address) -> None:
    """Report that the listener `name` waits for an interface to get its address."""
    where = format_address(address)
    text = f"{name}: no interface of this machine has the address of {where} now. It is used when one gets it."
    emit(AddressMissing(name=name, address=where, text=text))


def report_failed_handshake(name: str, address: Address, failed: HandshakeError) -> None:
    """Report a connection that was refused in its handshake."""
    emit(
        HandshakeFailed(
            name=name,
            address=format_address(address),
            text=f"{name}: {failed}",
            reason=failed.reason,
            certificate_reason=failed.verdict.reason if failed.verdict else "",
        )
    )


def report_rejected_connection(name: str, pending: Pending, why: str, reason: str) -> None:
    """Report a connection that is refused for `why`, a clause without a full stop; `reason` is for programs."""
    where = format_address(pending.address)
    emit(
        ConnectionRejected(
            name=name,
            address=where,
            text=f"{name}: {where} is refused{why}.",
            subject=pending.subject,
            reason=reason,
        )
    )
