"""Whether the secrets that an ISCL table names are on their devices and can do what they are needed for."""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.config import Configuration, access_to
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.errors import DicomError
from hsm_dicom.iscl import ISCLContext, ISCLSettings, Role
from hsm_dicom.iscl.wire.profile import ResponseCode
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import ISCLOpening
from hsm_dicom.node.configured import listener, peer
from hsm_dicom.node.iscl_configured import is_card, open_keys
from tokens.pkcs11.secret_keys.ceremony import list_secrets
from tokens.secrets import Use


def iscl_tables(configuration: Configuration) -> Iterator[tuple[KeyPath, ISCLSection]]:
    """Every peer's and listener's ISCL table, with what it takes from `[iscl]`."""
    for kind, tables in (("peers", configuration.peers), ("listeners", configuration.listeners)):
        for name, section in tables.items():
            if section.iscl is not None:
                yield (kind, name, "iscl"), section.iscl.within(configuration.iscl)


def try_iscl(configuration: Configuration, place: KeyPath, section: ISCLSection) -> str:
    """Open the secrets of one table, see that they are there, differ and serve, and say which they are.

    Raises `DicomError`s and `TokenError`s.
    """
    found = _opening(configuration, place)
    if found is None:
        return ""
    keys = open_keys(configuration, section)
    try:
        ISCLContext(found.settings, keys.secrets, authentication=keys.authentication)
    finally:
        keys.close()
    # Who calls a peer is the client; a peer that nobody can call only calls us.
    calls = place[0] == "peers" and configuration.peers[place[1]].host is not None
    _demand_directions(configuration, section, found.settings, Role.CLIENT if calls else Role.SERVER)
    return _described(found.settings)


def is_sound(configuration: Configuration, place: KeyPath) -> bool:
    """Whether the peer or listener of a table can work at all, as far as can be seen without a device."""
    try:
        return _opening(configuration, place) is not None
    except DicomError:
        return False


def _opening(configuration: Configuration, place: KeyPath) -> ISCLOpening | None:
    kind, name, _ = place
    return peer(configuration, name).iscl if kind == "peers" else listener(configuration, name).iscl


def _demand_directions(configuration: Configuration, section: ISCLSection, settings: ISCLSettings, role: Role) -> None:
    """Raise `SettingsError` for an authentication key whose usage does not let it do its part at this end.

    A card tells of its keys only when they are used.
    """
    wanted = section.authentication_token or section.token
    if wanted is None or is_card(wanted):
        return
    access = access_to(configuration, wanted)
    with access.open() as connection:
        there = {
            entry.index: entry.info
            for entry in list_secrets(connection, section.prefix or access.uri.object)
            if entry.use is Use.AUTHENTICATION
        }
    # A response by decryption asks the other usage of each key.
    by_decryption = settings.profile.response_code is ResponseCode.DECRYPTED_CHALLENGE
    client, server = settings.authentication_keys[0], settings.authentication_keys[-1]
    answering, judging = (client, server) if role is Role.CLIENT else (server, client)
    for index, does, encrypts in (
        (answering, "answer challenges", not by_decryption),
        (judging, "verify answers", by_decryption),
    ):
        if not (there[index].encrypts if encrypts else there[index].decrypts):
            raise SettingsError(
                f"Authentication key {index} must {does} at this end, and was imported for the other direction; see "
                "directional_keys, authentication_key and server_authentication_key in docs/howto/iscl.md."
            )


def _described(settings: ISCLSettings) -> str:
    indexes = {"authentication": settings.authentication_keys, "encryption": settings.encryption_keys}
    return ", ".join(
        f"{use} {'key' if len(keys) == 1 else 'keys'} {' and '.join(map(str, keys))}"
        for use, keys in indexes.items()
        if keys
    )
