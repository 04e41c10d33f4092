"""What the tokens and cards of a plan hold. A device that is away or does not answer is a row, and hides no other one.

No PIN is presented unless the caller asks for it, and none that needs a person. A PIN that a device refused is not
presented again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from hsm_dicom.config.devices import CardAccess, TokenAccess
from hsm_dicom.errors import Error
from hsm_dicom.identity import IdentityAccess
from hsm_dicom.node.inventory.entries import NOT_CONFIGURED, Entry, Kind, Origin, Urgency, format_kind
from hsm_dicom.node.inventory.uses import Uses, name_device
from hsm_dicom.node.plan import NodePlan, SecretKeysPlan
from tokens.card_uri import CardUri
from tokens.errors import sentence_case
from tokens.manager import default_manager
from tokens.pkcs11.objects import KeyName
from tokens.pkcs11.search import TokenInfo, matches, present_tokens
from tokens.pkcs11.stored import StoredCertificate, StoredKey, StoredObjects, read_public, read_stored
from tokens.smartcard.check import CardKeyInfo, card_info
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.search import list_cards


@dataclass
class Devices:
    """What was read of each device: objects by the NAME of a token, keys by the URI of a card."""

    stored: dict[str, StoredObjects] = field(default_factory=dict)
    cards: dict[str, tuple[CardKeyInfo, ...]] = field(default_factory=dict)
    rows: list[Entry] = field(default_factory=list)
    not_logged_in: list[str] = field(default_factory=list)


def read_devices(
    plan: NodePlan,
    uses: Uses,
    *,
    log_in: bool,
    progress: Callable[[str], None],
    profiles: Mapping[str, CardProfile] | None = None,
) -> Devices:
    """Read every configured token, and every card that the plan names.

    With `profiles`, those of the configuration, also list what the plan does not name: tokens of its modules, and cards
    in the readers.
    """
    devices = Devices()
    for name, token in plan.tokens.items():
        progress(f"token {name}")
        _read_token(devices, name, token, log_in=log_in)
    for access in _list_cards(plan):
        progress(f"card {access.uri.card_part()}")
        _read_card(devices, access, uses, log_in=log_in)
    for name, stored in devices.stored.items():
        devices.rows += _describe_keys(name, stored, plan, uses)
    if profiles is not None:
        progress("other tokens")
        devices.rows += _list_other_tokens(plan)
        progress("card readers")
        devices.rows += _list_other_cards(plan, profiles)
    return devices


def find_certificates(access: TokenAccess, stored: StoredObjects) -> list[StoredCertificate]:
    """Return the certificates on a token for the key that a URI selects, in no order."""
    keys = [key for key in stored.keys if access.uri.selects(key.name.label, key.name.id)]
    public = [key.public_key for key in keys if key.public_key is not None]
    return [
        one
        for one in stored.certificates
        if one.certificate is not None
        and (one.certificate.public_key() in public if public else access.uri.selects(one.name.label, one.name.id))
    ]


def explain_missing_key(identity: IdentityAccess, devices: Devices) -> str:
    """Return why an identity has no key, if every token that it names was read after a login and has none; else empty.

    A token that was erased or replaced accepts its PIN again, and its certificate may be in a file.
    """
    read = {one.name: devices.stored.get(one.name or "") for one in identity.tokens}
    if not read or any(stored is None or name in devices.not_logged_in for name, stored in read.items()):
        return ""
    private = [(one.uri, key) for one in identity.tokens for key in _list_private(devices, one)]
    if any(uri.selects(key.name.label, key.name.id) for uri, key in private):
        return ""
    names = " or ".join(f"'{name}'" for name in read)
    where = f"on token {names}"
    if private:
        return f"Its key is not {where}, which holds others."
    return (
        f"Its key is not {where}, which holds no private key. If it held keys before, it was initialised again, or "
        "it is another token of the same name."
    )


def _list_private(devices: Devices, access: TokenAccess) -> list[StoredKey]:
    stored = devices.stored.get(access.name or "")
    return [] if stored is None else [key for key in stored.keys if key.is_private_seen]


def _read_token(devices: Devices, name: str, token: TokenAccess, *, log_in: bool) -> None:
    found: TokenInfo | None = None
    try:
        module, found = token.find_token()
        if log_in and token.pin is not None and not token.pin.attended:
            with token.open() as connection:
                devices.stored[name] = read_stored(connection)
        else:
            devices.stored[name] = read_public(module, found)
            devices.not_logged_in.append(name)
        devices.rows.append(_describe_token(name, found))
    except Error as error:
        holder = str(token.uri) if found is None else found.description
        devices.rows.append(_describe_failure(Kind.TOKEN, name, holder, error))
        if found is not None:
            _read_after_failure(devices, name, token, found)


def _read_after_failure(devices: Devices, name: str, token: TokenAccess, found: TokenInfo) -> None:
    """Read the public objects of a token that accepted no login; the row tells why already."""
    try:
        devices.stored[name] = read_public(token.module(), found)
        devices.not_logged_in.append(name)
    except Error:
        return  # it does not answer any more, which the first error said


def _read_card(devices: Devices, access: CardAccess, uses: Uses, *, log_in: bool) -> None:
    uri = access.uri.card_part()
    try:
        details = card_info(default_manager().cards, uri, profiles=access.profiles, wait=0.0)
    except Error as error:
        devices.rows.append(_describe_failure(Kind.CARD, str(uri), str(uri), error))
        return
    devices.cards[str(uri)] = details.keys
    holder = f"reader {details.reader}"
    try:
        if log_in:
            access.check_pins(wait=0.0)
        devices.rows.append(Entry(kind=Kind.CARD, name=str(uri), holder=holder))
    except Error as error:
        devices.rows.append(_describe_failure(Kind.CARD, str(uri), holder, error))
    for one in details.keys:
        size = "" if one.attributes is None else format_kind(one.attributes.key_type, one.attributes.size_bits)
        local = None if one.attributes is None else one.attributes.local
        name = one.key.name
        origin = _name_origin(local, None)
        devices.rows.append(Entry(kind=Kind.KEY, name=name, holder=f"card {uri}", size=size, origin=origin))
    for use, index in details.secrets:
        devices.rows.append(
            Entry(
                kind=Kind.SECRET_KEY,
                name=f"{use.value} {index}",
                holder=f"card {uri}",
                uses=uses.of_secret_keys(str(uri)),
                origin=Origin.UNKNOWN,
            )
        )


def _list_cards(plan: NodePlan) -> list[CardAccess]:
    """Return access to each card that an identity or an ISCL table names, each once."""
    tables: list[SecretKeysPlan | None] = [one.keys for one in plan.peers.values()]
    tables += [one.keys for one in plan.listeners.values()]
    keys = [one for one in tables if one is not None]
    accesses = [
        *(identity.key for identity in plan.identities.values()),
        *(table.device for table in keys),
        *(table.authentication_device for table in keys),
    ]
    return list({name_device(one): one for one in accesses if isinstance(one, CardAccess)}.values())


def _list_other_cards(plan: NodePlan, profiles: Mapping[str, CardProfile]) -> list[Entry]:
    """Return a row for each card in a reader that no table names. What is on it is not read."""
    try:
        slots = list_cards(default_manager().cards, profiles)
    except Error:
        return []  # without a smart card service there is no card; one that is configured has a row with the error
    named = [access.uri for access in _list_cards(plan)]
    return [
        Entry(
            kind=Kind.CARD,
            name=str(card),
            holder=f"reader {slot.reader}",
            state=NOT_CONFIGURED,
            consequence="Nothing: no identity and no ISCL table names it.",
        )
        for slot in slots
        for card in slot.uris
        if not any(_names_card(uri, card, slot.reader) for uri in named)
    ]


def _list_other_tokens(plan: NodePlan) -> list[Entry]:
    """Return a row for each initialised token of a module that the plan loads, and that no table names.

    What is on it is not read. A module that cannot be used has no other tokens here; those that are named say why.
    """
    present: list[TokenInfo] = []
    looked_into: set[Path] = set()
    for token in plan.tokens.values():
        with contextlib.suppress(Error):
            module = token.module()
            if module.path not in looked_into:
                looked_into.add(module.path)  # once, also if it does not answer
                present += [one for one in present_tokens(module) if one.initialised]
    return [
        Entry(
            kind=Kind.TOKEN,
            name=found.label or found.serial,
            holder=found.description,
            state=NOT_CONFIGURED,
            consequence="Nothing: no table names it.",
        )
        for found in present
        if not any(matches(token.uri, found) for token in plan.tokens.values())
    ]


def _names_card(uri: CardUri, card: CardUri, reader: str) -> bool:
    return (
        uri.profile in (None, card.profile)
        and uri.serial in (None, card.serial)
        and (uri.reader is None or fnmatchcase(reader, uri.reader))
    )


def _describe_token(name: str, found: TokenInfo) -> Entry:
    return Entry(kind=Kind.TOKEN, name=name, holder=found.description)


def _describe_failure(kind: Kind, name: str, holder: str, error: Error) -> Entry:
    return Entry(
        kind=kind,
        name=name,
        holder=holder,
        urgency=Urgency.PROBLEM,
        problem=sentence_case(error.message),
        remedy=error.remedy or "",
    )


def _describe_keys(token: str, stored: StoredObjects, plan: NodePlan, uses: Uses) -> list[Entry]:
    rows = [
        Entry(
            kind=Kind.KEY,
            name=key.name.label or key.name.id.hex(),
            holder=f"token {token}",
            uses=_find_identities(token, key.name, plan.identities),
            size=format_kind(key.key_type, key.size_bits),
            origin=_name_origin(key.local, key.never_extractable),
            problem=key.problem,
            urgency=_rate_key(token, key, plan),
        )
        for key in stored.keys
    ]
    rows += [
        Entry(
            kind=Kind.SECRET_KEY,
            name=key.name.label or key.name.id.hex(),
            holder=f"token {token}",
            uses=uses.of_secret_keys(token),
            size=f"{key.size_bits} bits" if key.size_bits else "",
            origin=_name_origin(key.local, key.never_extractable),
        )
        for key in stored.secret_keys
    ]
    return rows


def _rate_key(token: str, key: StoredKey, plan: NodePlan) -> Urgency:
    """Return a problem for a key that an identity names and that is not supported; others are no concern here."""
    is_needed = bool(key.problem and _find_identities(token, key.name, plan.identities))
    return Urgency.PROBLEM if is_needed else Urgency.FINE


def _find_identities(token: str, name: KeyName, identities: Mapping[str, IdentityAccess]) -> tuple[str, ...]:
    return tuple(
        f"identities.{one}"
        for one, identity in identities.items()
        if any(key.name == token and key.uri.selects(name.label, name.id) for key in identity.tokens)
    )


def _name_origin(local: bool | None, never_extractable: bool | None) -> Origin:
    """Return where a key was made: CKA_LOCAL; without it, CKA_NEVER_EXTRACTABLE, which an imported key never has."""
    if local is None:
        return Origin.HERE if never_extractable else Origin.UNKNOWN
    return Origin.HERE if local else Origin.IMPORTED
