"""The keys of a route that judges or signs the objects that pass it.

[routes.to-pacs]
objects  = "verify-and-sign"
policy   = "ct"                       # [policies.ct]
identity = "node"                     # [identities.node]
folder   = "/var/spool/hsm-dicom/held"
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from hsm_dicom.config.base import FilePath, Section, Text

HoldSeconds = Annotated[float, Field(gt=0, le=3600)]


class UnsignedSection(Section):
    """`unsigned` of a route that signs: an exception, by which objects pass unsigned while the key cannot be used."""

    until: datetime.date
    """The last day of the exception, such as 2030-12-31."""
    reason: Text
    """Why it is needed. Logged with each use."""


class HoldingKeys(Section):
    """Keys of `[routes.NAME]` for `objects` = verify, sign, and verify-and-sign."""

    folder: FilePath | None = None
    """The folder in which objects are held until they were judged or signed; created if it does not exist. Required
    with verify and sign; on the file system of data, and not /tmp."""
    policy: Text | None = None
    """With verify: the NAME of the `[policies.NAME]` that objects must meet."""
    on_unmet: Literal["refuse", "quarantine"] | None = None
    """With verify: what happens to an object that does not meet the policy. refuse (the default): the sender gets the
    status C001. quarantine: it is kept in the folder `quarantine`, too."""
    quarantine: FilePath | None = None
    """The folder for such objects; by default `quarantine` in `folder`."""
    quarantine_answer: Literal["failure", "success"] | None = None
    """What the sender of such an object is answered: failure (C001, the default), or success, after which it may delete
    its copy."""
    identity: Text | None = None
    """With sign: the NAME of the `[identities.NAME]` that signs."""
    signature_profile: Literal["none", "base", "creator", "authorization"] | None = None
    """With sign: the signature profile (PS3.15, Annex C); by default base, and none for an EC key."""
    mac: Literal["sha256", "sha384", "sha512"] = "sha256"
    """With sign: the MAC algorithm."""
    purpose: Annotated[int, Field(ge=1, le=18)] | None = None
    """With sign: the purpose of the signature, a code of CID 7007."""
    already_signed: Literal["add", "pass", "refuse"] = "add"
    """With sign: what happens to an object that has signatures. add: it is signed, too, if each of them holds. pass: it
    is relayed as it is. refuse: it is refused."""
    on_conflict: Literal["refuse", "forward"] = "refuse"
    """With sign: what happens to an object whose SOP Instance UID was signed with other octets. forward: it is signed
    and relayed, and reported."""
    unsigned: UnsignedSection | None = None
    """With sign: relay objects unsigned while the key cannot be used, instead of refusing them."""
    keep_hours: Annotated[float, Field(gt=0, le=8760)] = 24.0
    """With sign: hours for which a signature is remembered, so that an object that is sent again gets the same one."""
    largest_object_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    """MiB (1048576 bytes) of the largest object that is held."""
    minimum_free_mib: Annotated[int, Field(ge=0, le=1 << 30)] = 1024
    """MiB of the file system of `folder` that stay free. Objects are refused with the status A700 meanwhile."""
    answer_seconds: HoldSeconds = 60.0
    """Seconds for judging and signing an object, and for the target's response to it."""
    far_idle_seconds: HoldSeconds = 300.0
    """Seconds of silence after which the connection to the target is opened anew before an object is sent."""


HOLDING_KEYS = tuple(HoldingKeys.model_fields)
"""The names of these keys."""
