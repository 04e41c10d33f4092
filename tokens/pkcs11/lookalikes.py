"""Why a token is not found, or found twice: it was initialised again, replaced by a new one, or copied.

| what happened                       | what a module shows                                                            |
|-------------------------------------|--------------------------------------------------------------------------------|
| initialised again, as it was called | the same label and mostly the same serial number, without its keys             |
| initialised again, another label    | the same serial number                                                         |
| replaced by a new token             | the same label, another serial number                                          |
| erased                              | the same serial number, and no label                                           |
| copied                              | the same label, and in some modules the same serial number                     |

A label is a name that anyone can give. The serial number tells tokens apart, and the key tells what is on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tokens.uri import Pkcs11Uri


class Token(Protocol):
    """What is compared of a token."""

    @property
    def label(self) -> str:
        """CK_TOKEN_INFO's label."""

    @property
    def serial(self) -> str:
        """CK_TOKEN_INFO's serialNumber."""

    @property
    def slot_id(self) -> int:
        """Its slot."""

    @property
    def initialised(self) -> bool:
        """Whether it was initialised."""


def explain_absence(wanted: Pkcs11Uri, present: Sequence[Token]) -> str:
    """Return sentences about the tokens that differ from the wanted one in serial number or label alone; else empty."""
    sentences = []
    for token in present:
        same_serial = wanted.serial is not None and token.serial == wanted.serial
        if not token.initialised:
            if same_serial:
                sentences.append(
                    f"The token with this serial number, in slot {token.slot_id}, is not initialised: it was erased, "
                    "and its keys are gone."
                )
        elif same_serial and wanted.token not in (None, token.label):
            sentences.append(
                f"The token with this serial number is now called '{token.label}': it was initialised again, which "
                "destroyed its keys, or renamed."
            )
        elif wanted.serial not in (None, token.serial) and wanted.token == token.label:
            sentences.append(
                f"The token '{token.label}' that is there has another serial number: it is a new token or a copy, or "
                "it was initialised again, which destroyed its keys. If it takes the place of the old one, write its "
                f"serial number, {token.serial}, and check its keys against their certificates."
            )
    return " ".join(sentences)


def explain_several(matching: Sequence[Token]) -> tuple[str, str]:
    """Return a sentence about tokens that all match, and the remedy."""
    serials = {token.serial for token in matching}
    if len(serials) == 1:
        slots = " or ".join(str(token.slot_id) for token in matching)
        return (
            "They have one serial number, so one is a copy of the other, or the module shows one token twice.",
            f"Add the slot to the URI (slot-id={slots}), and use one of them.",
        )
    if len({token.label for token in matching}) == 1:
        return (
            "A label does not tell tokens apart: one may be new, or a copy of the other.",
            "Add the serial number of the one that is meant to the URI.",
        )
    return "", "Add the serial number to the URI."
