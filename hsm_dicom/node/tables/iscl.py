"""ISCL in the plan: from the tables of the configuration to ISCL settings and to references to the secret keys."""

from __future__ import annotations

from hsm_dicom.config import Configuration, find_token_access
from hsm_dicom.config.devices import KeyAccess, find_key_access
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.iscl import Encryption, ISCLSettings, ISCLSettingsError, Mac, Role, Weakness
from hsm_dicom.iscl.entity import authentication_data
from hsm_dicom.iscl.wire.messages import MAX_BLOCK_DATA, MAX_MESSAGE
from hsm_dicom.iscl.wire.profile import SessionKeyDerivation
from hsm_dicom.iscl.wire.table import wire_profile
from hsm_dicom.network.settings import ISCLExemption
from hsm_dicom.node.plan import SecretKeysPlan, join_names
from hsm_dicom.node.problems import ProblemCollector
from tokens.opening import parse_uri

_ENCRYPTIONS = {"des-cbc": Encryption.DES_CBC, "none": Encryption.NONE}
_MACS = {"md5": Mac.MD5, "des-mac": Mac.DES_MAC, "none": Mac.NONE}
_KEPT_ON_DEVICE = SessionKeyDerivation.ENCRYPTED_RANDOM_NUMBER


class ISCLTable:
    """The ISCL table of one peer or listener, with what it takes from `[iscl]`."""

    def __init__(
        self, configuration: Configuration, owner: KeyPath, own: ISCLSection, problems: ProblemCollector
    ) -> None:
        """`owner` is the table of the peer or the listener, such as ("peers", "archive")."""
        self._configuration = configuration
        self._owner = owner
        self._own = own
        self._section = own.complete_from(configuration.iscl)
        self._problems = problems

    def compile_settings(self, *, our_name: str, their_name: str | None) -> ISCLExemption | None:
        """Return the settings; None, and problems, if the table cannot be used.

        The names serve as authentication data where the table has none; with `their_name` None, whatever the peer
        sends is accepted.
        """
        section, problems = self._section, self._problems
        theirs = section.peer_authentication_data or their_name
        if section.reason is None:
            remedy = "Write reason = in [iscl]."
            problems.add(self._place("reason"), "ISCL is retired, and no reason for its use is given.", remedy)
        ours = problems.attempt(
            self._place("authentication_data"), lambda: authentication_data(section.authentication_data or our_name)
        )
        expected = problems.attempt(
            self._place("peer_authentication_data"), lambda: None if theirs is None else authentication_data(theirs)
        )
        allowed = problems.attempt(self._place("allow"), lambda: frozenset(map(_weakness, sorted(section.allow))))
        wire = problems.attempt(self._place("wire"), lambda: wire_profile(section.wire))
        if section.reason is None or ours is None or allowed is None or wire is None:
            return None
        if expected is None and theirs is not None:
            return None
        reason = section.reason
        settings = problems.attempt(
            self._place(),
            lambda: ISCLSettings(
                encryption=_ENCRYPTIONS[section.encryption],
                mac=_MACS[section.mac],
                authentication_key=section.authentication_key,
                server_authentication_key=section.server_authentication_key,
                encryption_key=section.encryption_key,
                mac_key=section.mac_key,
                unique_keys=section.unique_keys,
                authentication_data=ours,
                peer_authentication_data=expected,
                max_message=section.max_message or MAX_MESSAGE,
                max_block_data=section.max_block_data or MAX_BLOCK_DATA,
                allow=allowed,
                profile=wire,
                reason=reason,
            ),
        )
        if settings is None:
            return None
        if settings.unique_keys and wire.session_key is not _KEPT_ON_DEVICE and not section.host_session_keys:
            problems.add(
                self._place("unique_keys"),
                "No device can derive session keys of this kind (session_key of wire).",
                "Write host_session_keys = true, if these keys may come to this node's memory, or unique_keys = false.",
            )
            return None
        return ISCLExemption(settings=settings, over_tls=section.over == "tls")

    def compile_keys(self, role: Role) -> SecretKeysPlan | None:
        """Return where the secret keys are; None, and problems, if no device can be named."""
        section, problems = self._section, self._problems
        if section.token is None:
            remedy = f"Write token = in [iscl], one of: {join_names(self._configuration.tokens)}."
            problems.add(self._place("token"), "No token for the secret keys of ISCL is named.", remedy)
            return None
        named = [section.token]
        if section.authentication_token is not None:
            named.append(section.authentication_token)
        if any(problems.is_unresolved("tokens", name) for name in named):
            return None
        device = self._access("token", section.token)
        authentication = section.authentication_token and self._access(
            "authentication_token", section.authentication_token
        )
        if device is None or (section.authentication_token and not authentication):
            return None
        return SecretKeysPlan(
            device=device,
            authentication_device=authentication or None,
            prefix=section.prefix,
            host_session_keys=section.host_session_keys,
            role=role,
        )

    def _access(self, key: str, named: str) -> KeyAccess | None:
        return self._problems.attempt(self._place(key), lambda: _access_to_device(self._configuration, named))

    def _place(self, key: str | None = None) -> KeyPath:
        """Return the place of a key: in this table, in `[iscl]` if it is written there alone, else this table."""
        table = (*self._owner, "iscl")
        general = self._configuration.iscl
        if key is None or (key in self._own.model_fields_set):
            return table if key is None else (*table, key)
        if general is not None and key in general.model_fields_set:
            return ("iscl", key)
        return table


def describe_protocol(configuration: Configuration, section: ISCLSection) -> str:
    """Return the protocol that a table selects, for messages: ISCL, or ISCL in TLS."""
    over = section.complete_from(configuration.iscl).over
    return "ISCL" if over is None else f"ISCL in {over.upper()}"


def identify_authentication_keys(configuration: Configuration, section: ISCLSection) -> tuple[object, ...]:
    """Return what identifies the authentication keys that a table names: their device, labels and indexes."""
    iscl = section.complete_from(configuration.iscl)
    device = iscl.authentication_token or iscl.token
    return device, iscl.prefix, iscl.authentication_key, iscl.server_authentication_key


def _access_to_device(configuration: Configuration, named: str) -> KeyAccess:
    """Return access to a token, by its name or its URI, or to a card, by its URI. Raises as `find_token_access`."""
    if named.lower().startswith("card:"):
        return find_key_access(configuration, parse_uri(named))
    return find_token_access(configuration, named)


def _weakness(name: str) -> Weakness:
    try:
        return Weakness(name)
    except ValueError:
        raise ISCLSettingsError(
            f"'{name}' is not a weakness that ISCL can allow.", remedy=f"Write one of: {', '.join(Weakness)}."
        ) from None
