"""`hsm-dicom key csr` and `key public`: what a certification authority needs of a key."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hsm_dicom.cli.commands.key import KeyUsage
from hsm_dicom.cli.new_files import require_new_file, write_new_file
from hsm_dicom.cli.options import Config, KeyName, Module, Operator, Pin, Record, Verbose, key_names

Subject = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar="NAME",
        help="'C=DE, O=Hospital, CN=CT 1', 'CN=CT 1,O=Hospital,C=DE' or '/C=DE/O=Hospital/CN=CT 1'; by default, that "
        "of the certificate in use.",
        show_default=False,
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="KEY",
        autocompletion=key_names,
        help="Ask for the same as the certificate of this identity or key has: its subject, names and extended key "
        "usages. For a new key that succeeds it.",
        show_default=False,
    ),
]
DnsNames = Annotated[
    list[str] | None,
    typer.Option("--dns", metavar="NAME", help="A host name. Repeatable.", show_default=False),
]
IpAddresses = Annotated[
    list[str] | None,
    typer.Option("--ip", metavar="ADDRESS", help="An IP address. Repeatable.", show_default=False),
]
Emails = Annotated[
    list[str] | None,
    typer.Option("--email", metavar="ADDRESS", help="An e-mail address. Repeatable.", show_default=False),
]
Uris = Annotated[
    list[str] | None,
    typer.Option("--uri", metavar="URI", help="A URI. Repeatable.", show_default=False),
]
ExtendedUsages = Annotated[
    list[str] | None,
    typer.Option(
        "--eku",
        metavar="USAGE",
        help="An extended key usage: clientAuth, serverAuth, another name, or an object identifier; by default, those "
        "of --usage. Repeatable.",
        show_default=False,
    ),
]
UsageOfCertificate = Annotated[
    KeyUsage | None,
    typer.Option("--usage", help="What the certificate is for; by default, what the key can do.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Output file; by default, standard output.", show_default=False),
]


def csr(
    key: KeyName,
    subject: Subject = None,
    like: Like = None,
    dns: DnsNames = None,
    ip: IpAddresses = None,
    email: Emails = None,
    uri: Uris = None,
    eku: ExtendedUsages = None,
    usage: UsageOfCertificate = None,
    out: Out = None,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Make a certificate request (PKCS #10), signed by the key itself.

    To renew a certificate, name the key alone: the request asks for what the certificate in use has. Each option
    replaces a part of it: --subject, the names (--dns, --ip, --email, --uri together), --eku or --usage.

    A key that only decrypts (--usage decrypt) signs this request, and nothing else, by a decryption without padding.
    Where its token does not offer that, hsm-dicom key public writes the public key for the CA.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from hsm_dicom.cli.context import get_key_access, open_configuration
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.reference import repeat_options
    from hsm_dicom.cli.request_fields import describe_request, explain_roles, find_fields, parse_fields
    from hsm_dicom.config import TokenAccess
    from hsm_dicom.config.groups import GroupAccess
    from hsm_dicom.identity.errors import NoRequestError
    from tokens.csr import certificate_request
    from tokens.errors import MechanismNotOfferedError
    from tokens.pkcs11.ceremony import Usage
    from tokens.pkcs11.key import Pkcs11Key
    from tokens.pkcs11.objects import KeyEntry
    from tokens.pkcs11.objects import KeyName as NameOnToken

    require_new_file(out)
    typed = parse_fields(subject, {"dns": dns, "ip": ip, "email": email, "uri": uri}, eku)
    with keep_record("key csr", record) as ceremony, open_configuration(config) as configuration:
        access, allowed = get_key_access(configuration, key, pin=pin, module=module)
        with access.open_key(allowed) as opened:
            ceremony.record.device = opened.device.description
            if isinstance(access, TokenAccess):
                ceremony.set_token(access.find_token()[1])
            name = opened.device.name if isinstance(opened.device, Pkcs11Key) else NameOnToken(key, b"")
            ceremony.set_key(KeyEntry(name, opened.device.attributes, (), opened.device.public_key))
            found = find_fields(typed, configuration, key, like, pin=pin, module=module)
            decrypts_only = opened.device.attributes.sign is False
            extended = found.extended_usages if usage is None else typed.extended_usages
            if usage is None:
                usage = KeyUsage.DECRYPT if decrypts_only else KeyUsage(found.usage.value)
            try:
                request = certificate_request(
                    opened,
                    found.subject,
                    Usage(usage.value),
                    alternative_names=found.alternative_names,
                    extended_usages=extended,
                )
            except MechanismNotOfferedError as error:
                if not decrypts_only:
                    raise
                raise NoRequestError(
                    f"{error} Write its public key with hsm-dicom key public '{key}' --out key.pem, and have the CA "
                    "issue the certificate for that (openssl x509 -new -force_pubkey key.pem)."
                ) from error
        pem = request.public_bytes(Encoding.PEM)
        if out is None:
            typer.echo(pem.decode("ascii"), nl=False)
        else:
            write_new_file(out, pem)
        ceremony.record.request = pem.decode("ascii")
        ceremony.record.add_output("certificate request", out, pem)
    if out is None:
        for sentence in explain_roles(request):
            output.note(sentence)
        return
    output.outcome(True, f"{output.shown(str(out))} is the certificate request for {describe_request(request)}.")
    for sentence in explain_roles(request):
        output.say(sentence)
    ceremony.print()
    if not isinstance(access, TokenAccess):
        known = key if key in configuration.identities else "NAME"
        table = access.identity if isinstance(access, GroupAccess) else known
        output.say(f"After the CA has issued the certificate, write under [identities.{output.shown(table)}]:")
        output.say_verbatim('certificate = "CERTIFICATE.pem"', indent=2)
        return
    output.say("After the CA has issued the certificate, store it:")
    output.say_verbatim(
        f"hsm-dicom key import-cert {shlex.quote(key)} CERTIFICATE.pem{repeat_options(pin, module, config)}", indent=2
    )


def public(
    key: KeyName,
    out: Out = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Write the public key as PEM, for a CA that issues a certificate without a request."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from hsm_dicom.cli.context import get_key_access, open_configuration
    from hsm_dicom.cli.render import output

    require_new_file(out)
    with open_configuration(config) as configuration:
        access, allowed = get_key_access(configuration, key, pin=pin, module=module)
        with access.open_key(allowed) as opened:
            pem = opened.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if out is None:
        typer.echo(pem.decode("ascii"), nl=False)
        return
    write_new_file(out, pem)
    output.outcome(True, f"{output.shown(str(out))} holds the public key.")


def register(app: typer.Typer) -> None:
    """Add the commands to those of `hsm-dicom key`."""
    example = "Example: hsm-dicom key csr node --subject 'C=DE, O=Hospital, CN=CT 1' --dns ct1.example"
    app.command("csr", epilog=example)(csr)
    app.command("public", epilog="Example: hsm-dicom key public node --out node.pub.pem")(public)
