"""The objects of one association, and what the associations of a route share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hsm_dicom.gateway.hold import Caller, HoldTimes
from hsm_dicom.gateway.holding.object import HeldObject, Treatment
from hsm_dicom.gateway.holding.records import open_records
from hsm_dicom.gateway.holding.settings import HoldingSettings
from hsm_dicom.gateway.holding.signer import ObjectSigner
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.identity import Identity
from hsm_dicom.network.dimse.commands import CommandSet
from hsm_dicom.network.storage.folders import make_folder
from hsm_dicom.network.storage.incoming import Incoming
from hsm_dicom.network.storage.leftovers import remove_leftovers
from hsm_dicom.network.storage.policy_check import make_policy_check
from hsm_dicom.network.storage.quarantine import make_quarantine
from hsm_dicom.transport.events import log
from hsm_dicom.validation import PolicyValidator

RECORDS = "signatures.sqlite"
"""The name of the file with the records, in the folder of held objects."""


class ObjectHolder:
    """Holds the objects of one association; see `hsm_dicom.gateway.hold.Holder`."""

    def __init__(self, treatment: Treatment, caller: Caller) -> None:
        settings = treatment.settings
        self.times = HoldTimes(settings.answer_seconds, settings.far_idle_seconds)
        self._treatment, self._caller = treatment, caller

    def collect(self, context: AcceptedContext, command: CommandSet) -> HeldObject:
        """Begin to take the object of a C-STORE-RQ."""
        settings = self._treatment.settings
        incoming = Incoming(
            settings.folder,
            context.abstract_syntax,
            context.transfer_syntax,
            command,
            settings.largest_object_mib << 20,
            settings.minimum_free_mib << 20,
        )
        return HeldObject(incoming, self._treatment, self._caller)


@dataclass(frozen=True)
class HoldingResources:
    """What a route works with that holds objects."""

    treatment: Treatment = field(repr=False)

    def make_holder(self, caller: Caller) -> ObjectHolder:
        """Return what holds the objects of one association (`hsm_dicom.gateway.hold.MakeHolder`)."""
        return ObjectHolder(self.treatment, caller)


@contextlib.contextmanager
def open_holding(
    route: str,
    settings: HoldingSettings,
    identity: Identity | None = None,
    open_validator: Callable[[], PolicyValidator] | None = None,
) -> Iterator[HoldingResources]:
    """Open what a route needs to hold objects: its folder, the records, its policy, and the signer.

    Objects of an interrupted run are removed: their senders were not answered. Raises `SettingsError`, `OSError` if the
    folder cannot be made, and ValueError without the identity or the validator that the settings ask for.
    """
    if (settings.signing is None) is not (identity is None) or (settings.policy is None) is not (
        open_validator is None
    ):
        raise ValueError("An identity is for a route that signs, and a validator for one that has a policy.")
    make_folder(settings.folder)
    if settings.quarantine is not None:
        make_quarantine(settings.quarantine.folder, settings.folder)
    removed = remove_leftovers(settings.folder)
    if removed:
        log.warning("%s: removed objects that were held when an earlier run ended: %d.", route, removed)
    with contextlib.ExitStack() as stack:
        check = None if open_validator is None else make_policy_check(open_validator)
        signer = None
        if settings.signing is not None and identity is not None:
            records = open_records(settings.folder / RECORDS, settings.signing.keep_hours)
            stack.callback(records.flush)
            signer = ObjectSigner(route, settings.signing, identity, records)
        yield HoldingResources(Treatment(route, settings, check, signer))
