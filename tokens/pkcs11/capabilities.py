"""Which mechanisms a token lists, and what it says each is for (CK_MECHANISM_INFO)."""

from __future__ import annotations

from dataclasses import dataclass

from pkcs11 import Mechanism, MechanismFlag, Session
from pkcs11 import exceptions as p11


@dataclass(frozen=True)
class Capabilities:
    """The mechanisms that a token lists, by what it says each may be used for."""

    sign: frozenset[Mechanism]
    decrypt: frozenset[Mechanism]
    generate: frozenset[Mechanism]
    listed: frozenset[Mechanism | int]


def capabilities(session: Session) -> Capabilities:
    """Ask the token of an open session."""
    slot = session.token.slot
    listed = slot.get_mechanisms()
    uses: dict[MechanismFlag, set[Mechanism]] = {
        MechanismFlag.SIGN: set(),
        MechanismFlag.DECRYPT: set(),
        MechanismFlag.GENERATE_KEY_PAIR: set(),
    }
    for mechanism in listed:
        if isinstance(mechanism, Mechanism):
            try:
                flags = slot.get_mechanism_info(mechanism).flags
            except p11.MechanismInvalid:
                continue  # p11-kit 0.24.1 lists what it then does not know
            for use, members in uses.items():
                if use in flags:
                    members.add(mechanism)
    return Capabilities(
        sign=frozenset(uses[MechanismFlag.SIGN]),
        decrypt=frozenset(uses[MechanismFlag.DECRYPT]),
        generate=frozenset(uses[MechanismFlag.GENERATE_KEY_PAIR]),
        listed=frozenset(listed),
    )
