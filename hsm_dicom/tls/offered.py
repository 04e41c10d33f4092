"""Which suites and groups of a profile this Python's OpenSSL offers, as OpenSSL reports it."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass

from hsm_dicom.tls import openssl
from hsm_dicom.tls.errors import TLSError
from hsm_dicom.tls.profiles import PROFILES, TLSProfile
from hsm_dicom.tls.suites import SUITES, Suite

SECURITY_LEVEL = 2
"""OpenSSL's security level: 112 bits. It refuses shorter keys and groups and SHA-1 by itself."""


@functools.cache
def _available(profile_suites: tuple[Suite, ...]) -> frozenset[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found = set()
    for suite in profile_suites:
        if not suite.openssl:
            continue
        try:
            if suite.tls13:
                openssl.set_tls13_suites(context, [suite.openssl])
            else:
                context.set_ciphers(f"{suite.openssl}:@SECLEVEL={SECURITY_LEVEL}")
        except (ssl.SSLError, TLSError):
            continue
        if suite.code in openssl.list_enabled_suites(context):
            found.add(suite.code)
    return frozenset(found)


def list_offered(profile: TLSProfile) -> tuple[Suite, ...]:
    """List the suites of a profile that can be offered, most preferred first."""
    available = _available(tuple(SUITES.values()))
    return tuple(suite for suite in profile.suites if suite.code in available)


def list_offered_groups(profile: TLSProfile) -> tuple[str, ...]:
    """List the groups of a profile that can be offered, most preferred first, the additional ones included.

    OpenSSL in FIPS mode, for example, has neither X25519 nor X448.
    """
    return tuple(filter(openssl.has_group, (*profile.additional_groups, *profile.groups)))


@dataclass(frozen=True)
class ProfileReport:
    """One profile, and what of it is offered here. `shortfalls` are sentences: what is missing, and why."""

    profile: TLSProfile
    offered: tuple[Suite, ...]
    offered_groups: tuple[str, ...]
    missing: tuple[Suite, ...]
    shortfalls: tuple[str, ...]


def report(profile: TLSProfile) -> ProfileReport:
    """Report which suites and groups of a profile this Python's OpenSSL offers."""
    here = list_offered(profile)
    groups = list_offered_groups(profile)
    missing = tuple(suite for suite in profile.suites if suite not in here)
    shortfalls = list(profile.remarks)
    if missing:
        weight = "required" if set(missing) & set(profile.required) else "optional"
        names = ", ".join(str(suite) for suite in missing)
        shortfalls.append(f"{ssl.OPENSSL_VERSION} does not have these {weight} suites: {names}.")
    if lacking := [group for group in profile.groups if group not in groups]:
        shortfalls.append(f"{ssl.OPENSSL_VERSION} does not have these groups: {', '.join(lacking)}.")
    return ProfileReport(profile, here, groups, missing, tuple(shortfalls))


def report_profiles() -> tuple[ProfileReport, ...]:
    """Report on every profile, as `hsm-dicom tls profiles` shows it."""
    return tuple(report(profile) for profile in PROFILES.values())
