"""What a certificate request asks for: as typed, or as a certificate has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import typer
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from hsm_dicom.cli.context import open_named_identity
from hsm_dicom.cli.render import output
from hsm_dicom.config import Configuration
from hsm_dicom.identity import choose_certificate
from hsm_dicom.identity.errors import NoCertificateError
from hsm_dicom.node.identities.roles import describe_roles
from hsm_dicom.trust import CertificatePurpose
from hsm_dicom.trust.roles import END_OF_PUBLIC_CLIENT_AUTH, ROLES, find_unfit_roles
from tokens.csr import (
    NameKind,
    RequestFields,
    choose_usage,
    format_extended_usage,
    parse_alternative_name,
    parse_extended_usage,
    parse_subject,
    read_request_fields,
)
from tokens.csr.alternative_names import MisplacedNameError
from tokens.errors import CeremonyError

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class TypedFields:
    """The fields that options give; None for those that were not given."""

    subject: x509.Name | None
    alternative_names: tuple[x509.GeneralName, ...] | None
    extended_usages: tuple[ObjectIdentifier, ...] | None


def parse_fields(
    subject: str | None, names: Mapping[str, Sequence[str] | None], extended_usages: Sequence[str] | None
) -> TypedFields:
    """Read the options of a request. Raises `typer.BadParameter` with the option for the first mistake."""
    parsed = [
        _parse(f"--{kind}", text, partial(parse_alternative_name, NameKind(kind)))
        for kind, texts in names.items()
        for text in texts or ()
    ]
    return TypedFields(
        subject=None if subject is None else _parse("--subject", subject, parse_subject),
        alternative_names=tuple(parsed) or None,
        extended_usages=tuple(_parse("--eku", one, parse_extended_usage) for one in extended_usages or ()) or None,
    )


def find_fields(
    typed: TypedFields,
    configuration: Configuration,
    key: str,
    like: str | None,
    *,
    pin: str | None,
    module: Path | None,
) -> RequestFields:
    """Return the typed fields, and the others as the certificate of `like`, or of the key, has them.

    With a subject and without `like`, no certificate is read. Raises `typer.BadParameter` if there is none to read.
    """
    if like is None and typed.subject is not None:
        return RequestFields(
            subject=typed.subject,
            alternative_names=typed.alternative_names or (),
            extended_usages=typed.extended_usages,
            usage=choose_usage(typed.extended_usages or ()),
        )
    try:
        with open_named_identity(configuration, like or key, pin=pin, module=module) as identity:
            certificate = choose_certificate([one.certificate for one in identity.all])
    except NoCertificateError as error:
        raise typer.BadParameter(
            f"{error.message} Type the subject, such as --subject 'C=DE, O=Hospital, CN=CT 1', or name a key that has "
            "a certificate with --like.",
            param_hint="--subject" if like is None else "--like",
        ) from error
    had = read_request_fields(certificate)
    return RequestFields(
        subject=typed.subject or had.subject,
        alternative_names=had.alternative_names if typed.alternative_names is None else typed.alternative_names,
        extended_usages=had.extended_usages if typed.extended_usages is None else typed.extended_usages,
        usage=had.usage if typed.extended_usages is None else choose_usage(typed.extended_usages),
    )


def describe_request(request: x509.CertificateSigningRequest) -> str:
    """Return the subject, the alternative names and the extended key usages of a request, for a sentence."""
    text = f"'{output.shown(request.subject.rfc4514_string({x509.NameOID.EMAIL_ADDRESS: 'emailAddress'}))}'"
    facts = []
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            facts += [output.shown(_name_of(one)) for one in extension.value]
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            facts += [format_extended_usage(one) for one in extension.value]
    return f"{text} ({', '.join(facts)})" if facts else text


def explain_roles(request: x509.CertificateSigningRequest) -> Iterator[str]:
    """Yield what a certificate that is issued as requested can be used for, and which CA issues it.

    Yields nothing for a request that restricts no role, or all of them, as for a retired TLS profile.
    """
    unfit = {one.role for one in find_unfit_roles(request)}
    if not unfit or len(unfit) == len(ROLES):
        return
    yield f"A certificate that is issued as requested can be used {describe_roles(request)}."
    client, server = (CertificatePurpose.TLS_CLIENT in unfit, CertificatePurpose.TLS_SERVER in unfit)
    if client != server:
        missing, tables = ("clientAuth", "peers") if client else ("serverAuth", "listeners")
        yield f"Name another identity, whose certificate has {missing}, for {tables}, or add --eku {missing}."
    if not client and _has_extended_usages(request):
        yield (
            "Send it to your own CA: from "
            f"{END_OF_PUBLIC_CLIENT_AUTH} on, public CAs issue no certificate with clientAuth, and most have stopped "
            "already. For a public CA, request --eku serverAuth alone."
        )


def _has_extended_usages(request: x509.CertificateSigningRequest) -> bool:
    return any(isinstance(extension.value, x509.ExtendedKeyUsage) for extension in request.extensions)


def _name_of(name: x509.GeneralName) -> str:
    return name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)


def _parse(option: str, text: str, parse: Callable[[str], _Parsed]) -> _Parsed:
    try:
        return parse(text)
    except MisplacedNameError as error:
        raise typer.BadParameter(f"{error.message} Write --{error.kind} {error.name}", param_hint=option) from error
    except CeremonyError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
