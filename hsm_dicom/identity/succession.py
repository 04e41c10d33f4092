"""The successor of an identity, another one with a key of its own, and the time from which it signs.

    [identities.node]
    next            = "node-2027"
    next_signs_from = 2027-01-15      # signatures switch on this day, in UTC
    next_in_tls     = false           # TLS switches when this is true, at the next start or reload; with "auto",
                                      # a peer that is called is shown the successor first

    stages: planned -> overlapping -> retired

While an identity and its successor overlap, both keys are in use, and peers accept either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hsm_dicom.config.sections import Configuration, IdentitySection
from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.trust.clock import current_date


class Use(StrEnum):
    """What an identity is used for. Each use switches to the successor by itself."""

    SIGNING = "signing"
    TLS = "tls"


class Stage(StrEnum):
    """How far an identity has been replaced by its successor."""

    PLANNED = "planned"
    """Nothing uses the successor yet."""
    OVERLAPPING = "overlapping"
    """One use has switched to the successor, and another has not."""
    RETIRED = "retired"
    """Every use has switched to the successor."""


@dataclass(frozen=True)
class Succession:
    """An identity and its successor. `signs_from` is None if signatures do not switch.

    With `is_automatic`, a peer that this node calls is shown the successor first, and the identity itself where the
    peer refuses it; listeners show the identity.
    """

    name: str
    successor: str
    signs_from: date | None
    in_tls: bool
    is_automatic: bool = False

    def has_switched(self, use: Use, day: date | None = None) -> bool:
        """Return whether the successor serves this use on the day, by default today."""
        if use is Use.TLS:
            return self.in_tls
        return self.signs_from is not None and self.signs_from <= (day or current_date())

    def find_stage(self, *, is_in_tls: bool, may_sign: bool, day: date | None = None) -> Stage:
        """Return the stage on the day.

        `is_in_tls` is whether listeners or peers name the identity, and `may_sign` whether its certificate is for
        signatures. One that serves for neither is regarded as one that signs.
        """
        if is_in_tls and self.is_automatic:
            return Stage.OVERLAPPING
        switched = [self.has_switched(Use.TLS)] if is_in_tls else []
        if may_sign or not is_in_tls:
            switched.append(self.has_switched(Use.SIGNING, day))
        return Stage.RETIRED if all(switched) else Stage.OVERLAPPING if any(switched) else Stage.PLANNED


def find_succession(name: str, section: IdentitySection) -> Succession | None:
    """Return the succession that the table of an identity describes; None if it names no successor."""
    if section.next is None:
        return None
    switch = section.next_in_tls
    return Succession(name, section.next, section.next_signs_from, switch is True, is_automatic=switch == "auto")


def find_successions(configuration: Configuration) -> dict[str, Succession]:
    """Return the successions of a configuration, by the name of the identity that is replaced."""
    found = {name: find_succession(name, section) for name, section in configuration.identities.items()}
    return {name: one for name, one in found.items() if one is not None}


def choose_identity(successions: Mapping[str, Succession], name: str, use: Use, day: date | None = None) -> str:
    """Return the name of the identity that serves a use in place of the named one: itself, or a successor.

    Raises `IdentityError` if the successors lead back to an identity.
    """
    return _follow(successions, name, lambda one: one.has_switched(use, day))


def check_successors(successions: Mapping[str, Succession], name: str) -> None:
    """Raise `IdentityError` if the successors of an identity lead back to one that is replaced."""
    _follow(successions, name, lambda _: True)


def _follow(successions: Mapping[str, Succession], name: str, does_switch: Callable[[Succession], bool]) -> str:
    passed = [name]
    while (one := successions.get(passed[-1])) is not None and does_switch(one):
        if one.successor in passed:
            raise IdentityError(
                f"The successors of identity '{name}' lead back to '{one.successor}'.",
                remedy=f"Remove next = from [identities.{passed[-1]}].",
            )
        passed.append(one.successor)
    return passed[-1]
