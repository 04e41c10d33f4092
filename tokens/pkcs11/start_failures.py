"""Likely causes of a failed start of a module (C_Initialize), the most likely first.

Modules return GENERAL_ERROR or FUNCTION_FAILED for nearly every failure. This module lists the requirements of tested
modules: a variable with the path of their settings, a group that may use the device, a service, a parameter string.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ARGUMENTS_BAD = 0x07
_SOFTWARE_TOKEN = Path("/var/lib/opencryptoki/swtok")


@dataclass(frozen=True)
class _Needs:
    """The requirements of one kind of module. `files` are prefixes of its file name.

    `listed`: the module looks for the user's name among the members of `group`, not for the group of the process.
    """

    files: tuple[str, ...]
    variables: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    group: str = ""
    listed: bool = False
    service: str = ""
    parameters: str = ""


_KNOWN = (
    _Needs(("libsofthsm",), variables=("SOFTHSM2_CONF",), group="softhsm"),
    _Needs(("libsoftokn3",), parameters="the folder of its database, such as configDir='sql:/etc/pki/nssdb'"),
    _Needs(
        ("libtpm2_pkcs11",),
        variables=("TPM2_PKCS11_STORE",),
        optional=("TPM2_PKCS11_TCTI",),
        group="tss",
        service="the TPM's resource manager may not run: systemctl status tpm2-abrmd, or ls -l /dev/tpmrm0",
    ),
    _Needs(
        ("libopencryptoki", "PKCS11_API"),
        group="pkcs11",
        listed=True,
        service="its service may not run: systemctl status pkcsslotd",
    ),
    _Needs(
        ("p11-kit-client",),
        variables=("P11_KIT_SERVER_ADDRESS",),
        service="the p11-kit server at that address may not run",
    ),
    _Needs(
        ("libpkcs11-proxy",),
        variables=("PKCS11_PROXY_SOCKET",),
        service="the pkcs11-daemon at that address may not run, or be cut off by the network",
    ),
    _Needs(
        ("opensc-pkcs11", "libykcs11"),
        optional=("OPENSC_CONF",),
        service="the smart card service may not run: systemctl status pcscd.socket",
    ),
)

_OTHERS = _Needs(
    (),
    service="a service that it speaks with may not run, or its device may be switched off or out of reach",
)


def suggest_init_string(path: Path, init_string: str | None) -> str | None:
    """Return a sentence for a module that starts without its init string, and then shows an empty token; or None."""
    needs = next((known for known in _KNOWN if path.name.startswith(known.files)), _OTHERS)
    if init_string is not None or not needs.parameters:
        return None
    return f"This module needs an init string with {needs.parameters}; give it as init_string."


def explain_no_token(path: Path) -> str | None:
    """Return a sentence for a module that shows no token because this user may not use the folder of it; or None.

    Debian 13 installs opencryptoki with such a folder.
    """
    if not path.name.startswith(("libopencryptoki", "PKCS11_API")):
        return None
    if not _SOFTWARE_TOKEN.is_dir() or os.access(_SOFTWARE_TOKEN, os.W_OK):
        return None
    change = f"chgrp -R pkcs11 {_SOFTWARE_TOKEN} && chmod -R g+rwX {_SOFTWARE_TOKEN}"
    return f"This user may not write to {_SOFTWARE_TOKEN}, the folder of the software token; as root, run: {change}."


def likely_causes(path: Path, rv: int, init_string: str | None) -> str:
    """Return a sentence with the causes, in the order in which to check them."""
    needs = next((known for known in _KNOWN if path.name.startswith(known.files)), _OTHERS)
    causes = list(_causes(needs, rv, init_string))
    if len(causes) == 1:
        return f"The likely cause: {causes[0]}."
    return "Likely causes, in this order: " + "; ".join(f"({n}) {cause}" for n, cause in enumerate(causes, 1)) + "."


def _causes(needs: _Needs, rv: int, init_string: str | None) -> Iterator[str]:
    asks_for_parameters = bool(needs.parameters) or (needs is _OTHERS and rv == _ARGUMENTS_BAD)
    if asks_for_parameters:
        of_what = f" with {needs.parameters}" if needs.parameters else ""
        if init_string is None:
            yield f"it needs an init string{of_what}; give it as init_string"
        else:
            yield f"the init string is not right{f'; it gives {needs.parameters}' if needs.parameters else ''}"
    for variable in (*needs.variables, *needs.optional):
        value = os.environ.get(variable)
        if value is None and variable in needs.variables:
            yield f"the environment variable {variable}, which tells it where its settings are, is not set"
        elif value is not None and value.startswith("/") and not os.access(value, os.R_OK):
            yield f"the environment variable {variable} names {value}, which this user cannot read"
        elif value is not None:
            yield f"the environment variable {variable} names the wrong place: {value}"
    if needs is _OTHERS:
        yield "an environment variable that its manual names is not set in this process (a service has its own)"
    if needs.listed:
        if not _is_listed(needs.group):
            yield (
                f"this user is not a member of the group '{needs.group}' in /etc/group, which SupplementaryGroups= of a"
                f" unit does not change: run adduser USER {needs.group} as root"
            )
    elif needs.group and not _is_member(needs.group):
        yield f"this user is not in the group '{needs.group}', which may use it"
    elif not needs.group and needs is _OTHERS and os.geteuid():
        yield "this user is not in the group that may use its device"
    if needs.service:
        yield needs.service


def _is_member(name: str) -> bool:
    """Return whether this process is root or in the group, or whether there is no such group."""
    try:
        group = grp.getgrnam(name).gr_gid
    except KeyError:
        return True
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())


def _is_listed(name: str) -> bool:
    """Return whether this process is root or the group has its user by name, or whether there is no such group."""
    try:
        members = grp.getgrnam(name).gr_mem
    except KeyError:
        return True
    if os.geteuid() == 0:
        return True
    try:
        return pwd.getpwuid(os.geteuid()).pw_name in members
    except KeyError:
        return False
