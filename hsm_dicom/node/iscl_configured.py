"""From the ISCL tables of the configuration to an opening, and to the devices with its secrets."""

from __future__ import annotations

from hsm_dicom.config import Configuration, access_to
from hsm_dicom.config.devices import KeyAccess, TokenAccess, access_to_uri
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.iscl import Encryption, ISCLSettings, ISCLSettingsError, Mac, Weakness
from hsm_dicom.iscl.entity import authentication_data
from hsm_dicom.iscl.wire.messages import MAX_BLOCK_DATA, MAX_MESSAGE
from hsm_dicom.iscl.wire.profile import SessionKeyDerivation
from hsm_dicom.iscl.wire.table import wire_profile
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import ISCLOpening
from hsm_dicom.transport.iscl_keys import ISCLKeys
from tokens.opening import parse_uri
from tokens.pins.sources import PinSource
from tokens.secrets import Secrets

_ENCRYPTIONS = {"des-cbc": Encryption.DES_CBC, "none": Encryption.NONE}
_MACS = {"md5": Mac.MD5, "des-mac": Mac.DES_MAC, "none": Mac.NONE}


_KEPT_ON_DEVICE = SessionKeyDerivation.ENCRYPTED_RANDOM_NUMBER


def opening(
    configuration: Configuration, own: ISCLSection | None, *, our_name: str, their_name: str | None
) -> ISCLOpening | None:
    """What the table of a peer or a listener opens; None where there is no such table.

    The names are for the authentication data that it does not tell; `their_name` None: whatever the peer says is
    taken. Raises `SettingsError`, `ISCLSettingsError`.
    """
    if own is None:
        return None
    section = own.within(configuration.iscl)
    if section.reason is None:
        raise SettingsError("ISCL is retired, and nothing says why it is opened; write reason = in [iscl].")
    theirs = section.peer_authentication_data or their_name
    settings = ISCLSettings(
        encryption=_ENCRYPTIONS[section.encryption],
        mac=_MACS[section.mac],
        authentication_key=section.authentication_key,
        server_authentication_key=section.server_authentication_key,
        encryption_key=section.encryption_key,
        mac_key=section.mac_key,
        unique_keys=section.unique_keys,
        authentication_data=authentication_data(section.authentication_data or our_name),
        peer_authentication_data=None if theirs is None else authentication_data(theirs),
        max_message=section.max_message or MAX_MESSAGE,
        max_block_data=section.max_block_data or MAX_BLOCK_DATA,
        allow=frozenset(_weakness(name) for name in section.allow),
        profile=wire_profile(section.wire),
        reason=section.reason,
    )
    derivation = settings.profile.session_key
    if settings.unique_keys and derivation is not _KEPT_ON_DEVICE and not section.host_session_keys:
        raise SettingsError(
            "No device keeps a session key that is the decrypted random number; write host_session_keys = true, "
            "if these keys may come to this node's memory, or do without unique_keys."
        )
    return ISCLOpening(settings=settings, over_tls=section.over == "tls")


def open_keys(configuration: Configuration, own: ISCLSection, *, pin: PinSource | None = None) -> ISCLKeys:
    """The secrets that the table names.

    Raises `SettingsError`, `NotConfiguredError`, and what opening a device raises.
    """
    section = own.within(configuration.iscl)
    if section.token is None:
        raise SettingsError("Nothing says which token holds the secrets of ISCL; write token = in [iscl].")
    secrets = _open(access_to_device(configuration, section.token, pin=pin), section)
    if section.authentication_token is None:
        return ISCLKeys(secrets)
    try:
        device = access_to_device(configuration, section.authentication_token, pin=pin)
        return ISCLKeys(secrets, _open(device, section))
    except BaseException:
        secrets.close()
        raise


def is_card(wanted: str) -> bool:
    """Whether a table means a smart card by this."""
    return wanted.lower().startswith("card:")


def access_to_device(configuration: Configuration, wanted: str, *, pin: PinSource | None = None) -> KeyAccess:
    """Access to a token, by its name or its URI, or to a card, by its URI. Raises as `access_to`."""
    if is_card(wanted):
        return access_to_uri(configuration, parse_uri(wanted), pin=pin)
    return access_to(configuration, wanted, pin=pin)


def _open(device: KeyAccess, section: ISCLSection) -> Secrets:
    if isinstance(device, TokenAccess):
        return device.open_secrets(section.prefix, host_session_keys=section.host_session_keys)
    return device.open_secrets()


def _weakness(name: str) -> Weakness:
    try:
        return Weakness(name)
    except ValueError:
        raise ISCLSettingsError(
            f"'{name}' is nothing that ISCL could allow; it may be one of: {', '.join(Weakness)}."
        ) from None
