"""`hsm-dicom key`: generate, list and delete keys on a token, and manage their certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsm_dicom.cli.options import (
    Config,
    Confirmed,
    Json,
    KeyName,
    KeyToDelete,
    Module,
    Operator,
    Pin,
    Record,
    TokenName,
    Verbose,
    WarnDays,
)

if TYPE_CHECKING:
    from tokens.pkcs11.connection import Connection
    from tokens.pkcs11.objects import KeyEntry
    from tokens.pkcs11.objects import KeyName as NameOnToken
    from tokens.uri import Pkcs11Uri

app = typer.Typer(help="Keys on a token: generate, list, certify, delete them.", no_args_is_help=True)


class KeyType(StrEnum):
    """`tokens.pkcs11.ceremony.KeyKind`, here too so that --help need not load a driver."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P_256 = "p256"
    P_384 = "p384"


class KeyUsage(StrEnum):
    """`tokens.pkcs11.ceremony.Usage`, likewise."""

    SIGN = "sign"
    TLS = "tls"
    DECRYPT = "decrypt"


Label = Annotated[str, typer.Option("--label", help="The key's name.", show_default=False)]
KindAndSize = Annotated[KeyType, typer.Option("--type", help="Kind and size.")]
UsageOfKey = Annotated[KeyUsage, typer.Option("--usage", help="The single use of the key.")]
Id = Annotated[
    str | None,
    typer.Option("--id", metavar="HEX", help="Its id (CKA_ID); random by default.", show_default=False),
]
AlwaysAuthenticate = Annotated[
    bool, typer.Option("--always-authenticate", help="Require the PIN for each use of the key.")
]
CertificateFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...", help="The certificate of the key and its issuers, in any order.", show_default=False
    ),
]


@app.command("generate", epilog="Example: hsm-dicom key generate 'pkcs11:token=CT%20room' --label node --type rsa-3072")
def generate(
    token: TokenName,
    label: Label,
    type: KindAndSize = KeyType.RSA_3072,
    usage: UsageOfKey = KeyUsage.SIGN,
    id: Id = None,
    always_authenticate: AlwaysAuthenticate = False,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Generate a key pair on a token. The private key never leaves the token."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.key_report import key_json
    from hsm_dicom.cli.render.reference import Reference
    from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key

    with keep_record("key generate", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            with (
                _note_when_interrupted(connection, label),
                output.working(f"Generating {type.value} in {connection.token.description}", quiet=json),
            ):
                made = generate_key(
                    connection,
                    label,
                    KeyKind(type.value),
                    Usage(usage.value),
                    key_id=_id(id),
                    always_authenticate=always_authenticate,
                    private_attributes=access.private_key_attributes,
                    public_attributes=access.public_key_attributes,
                )
            ceremony.set_key(made)
            known = Reference(configuration, access, connection.token, module, config)
    if json:
        output.write_json("key-generate", key_json(made) | {"uri": str(known.key_uri(made.name, [made.name]))})
        return
    output.outcome(True, f"Key {made.name} ({type.value}, for {usage.value}) is in {connection.token.description}.")
    ceremony.print()
    purpose = " --usage tls" if usage is KeyUsage.TLS else ""  # a token does not tell it from a key that signs
    output.say("Ask for its certificate:")
    word = known.key_word(made.name, [made.name])
    output.say_verbatim(
        f"hsm-dicom key csr {word} --subject 'CN=NAME,O=HOSPITAL'{purpose} --out node.csr{known.options()}", indent=2
    )


@contextmanager
def _note_when_interrupted(connection: Connection, label: str) -> Iterator[None]:
    """Report a key pair that may still appear, if a signal ends the block."""
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.runs.termination import Terminated
    from tokens.pkcs11.ceremony import unfinished_steps

    try:
        yield
    except (KeyboardInterrupt, Terminated):
        for step in unfinished_steps(connection).of_token(connection.token.serial):
            if step.label == label:
                output.note(
                    f"hsm-dicom: interrupted; the {step.name} may still appear. Look whether it is there: "
                    f"hsm-dicom key list '{connection.token.uri}'"
                )
        raise


@app.command("list", epilog="Example: hsm-dicom key list 'pkcs11:token=CT%20room' --pin prompt")
def list_keys(
    token: TokenName,
    warn_days: WarnDays = 30,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the private keys on a token, their certificates, and remarks on both."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.key_report import key_json, print_key, unfinished_json
    from hsm_dicom.cli.render.reference import Reference
    from tokens.pkcs11.ceremony import read_keys, review_unfinished

    warning = timedelta(days=warn_days)
    with open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            entries = read_keys(connection)
            reviews = review_unfinished(connection, entries)
            known = Reference(configuration, access, connection.token, module, config)
    names = [entry.name for entry in entries]
    if json:
        keys = [key_json(entry, warning) | {"uri": str(known.key_uri(entry.name, names))} for entry in entries]
        unfinished = [unfinished_json(one.step) | {"found": one.found} for one in reviews]
        output.write_json("key-list", {"token": str(known.uri()), "keys": keys, "unfinished": unfinished})
        return
    if not entries:
        output.say(f"There is no private key on {output.shown(known.token.description)}. Generate one:")
        output.say_verbatim(f"hsm-dicom key generate {known.token_word()} --label NAME{known.options()}", indent=2)
    for entry in entries:
        users = known.find_certificate_files(entry.name)
        print_key(entry, warning, known.key_word(entry.name, names), users)
    for review in reviews:
        output.say((output.shown(review.text), output.UNSURE))


@app.command("import-cert", epilog="Example: hsm-dicom key import-cert node node.pem issuing-ca.pem")
def import_cert(
    key: KeyName,
    files: CertificateFiles,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Store the certificate of a key, and its chain, on the token. The certificate must belong to this key.

    The files may be PEM, DER or PKCS #7 (.p7b), and their certificates in any order.
    """
    from hsm_dicom.cli.context import get_key_access, open_configuration, require_token
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.serials import explain_not_in_use
    from hsm_dicom.identity import find_expiry_remark, order_certificates, read_certificates, require_unexpired
    from hsm_dicom.node.identities.roles import describe_roles
    from hsm_dicom.trust.roles import find_unfit_roles
    from tokens.pkcs11.certificates import import_certificates

    certificates = order_certificates([certificate for file in files for certificate in read_certificates(file)])
    require_unexpired(certificates[0])
    with keep_record("key import-cert", record) as ceremony, open_configuration(config) as configuration:
        access = require_token(get_key_access(configuration, key, pin=pin, module=module)[0])
        for file in files:
            ceremony.record.add_input("certificate", file)
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            name = import_certificates(connection, access.uri, certificates)
            entry = _find_entry(connection, name)
            ceremony.set_key(entry)
            ceremony.set_certificates(certificates)
    subject = output.shown(certificates[0].subject.rfc4514_string())
    issuers = f", with {output.count(len(certificates) - 1, 'CA certificate')}" if len(certificates) > 1 else ""
    output.outcome(True, f"The certificate of '{subject}' is stored with key {name}{issuers}.")
    ceremony.print()
    if find_unfit_roles(certificates[0]):
        output.say(f"It can be used {describe_roles(certificates[0])}.")
    remark = find_expiry_remark(certificates[0])
    if remark is not None:
        output.say((output.shown(remark.text), output.UNSURE))
    shadowed = explain_not_in_use(certificates[0], entry.certificates, key)
    if shadowed is not None:
        output.say((shadowed.text, output.UNSURE))
        output.say_verbatim(shadowed.command, indent=2)


@app.command("delete", epilog="Example: hsm-dicom key delete 'pkcs11:token=CT%20room;object=old'")
def delete(
    key: KeyToDelete,
    yes: Confirmed = None,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Delete a private key with its public key and its certificates. This cannot be undone."""
    from hsm_dicom.cli.confirmation import require_confirmation
    from hsm_dicom.cli.context import get_key_access, open_configuration, require_token
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.identity.key_uses import find_identities_of_key
    from tokens.pkcs11.ceremony import delete_key
    from tokens.uri import Pkcs11Uri

    with keep_record("key delete", record) as ceremony, open_configuration(config) as configuration:
        access = require_token(get_key_access(configuration, key, pin=pin, module=module)[0])
        if access.uri.object is None and access.uri.id is None:
            # A URI of the token alone never selects a key for deletion, not even its only one.
            raise typer.BadParameter(
                f"Name the key as well, with object= or id=; hsm-dicom key list '{key}' shows them.", param_hint="KEY"
            )
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            name = _find_name_on(connection, access.uri)
            ceremony.set_key(_find_entry(connection, name))
            ceremony.record.used_by = find_identities_of_key(configuration, connection.token, name)
            consequence = f"Key {name} on {connection.token.description} will be destroyed."
            if ceremony.record.used_by:
                consequence += f" It is the key of {_name_identities(ceremony.record.used_by)} in the configuration."
            require_confirmation(name.label or name.id.hex(), yes, consequence)
            # By its full name, so that exactly the confirmed key is deleted.
            delete_key(connection, Pkcs11Uri(object=name.label or None, id=name.id or None))
    output.outcome(True, f"Key {name} and its certificates were deleted.")
    if ceremony.record.used_by:
        output.note(
            f"In the configuration, it was the key of {_name_identities(ceremony.record.used_by)}: remove that, or "
            "give it another key."
        )
    ceremony.print()


@app.command("delete-cert", epilog="Example: hsm-dicom key delete-cert node --serial 1f2e")
def delete_cert(
    key: KeyName,
    serial: Annotated[
        str | None,
        typer.Option(
            "--serial",
            metavar="HEX",
            show_default=False,
            help="The certificate's serial number, as key list shows it; not needed if there is only one.",
        ),
    ] = None,
    yes: Annotated[
        str | None,
        typer.Option(
            "--yes", metavar="SERIAL", show_default=False, help="Confirm the deletion by repeating the serial number."
        ),
    ] = None,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Delete one certificate of a key from the token: one that expired, was revoked, or was imported too early."""
    from hsm_dicom.cli.confirmation import require_confirmation
    from hsm_dicom.cli.context import get_key_access, open_configuration, require_token
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.serials import explain_no_single_certificate, format_serial, parse_serial
    from hsm_dicom.identity import CertificateState, find_states
    from tokens.pkcs11.certificates import delete_certificate
    from tokens.uri import Pkcs11Uri

    wanted = parse_serial(serial)
    with keep_record("key delete-cert", record) as ceremony, open_configuration(config) as configuration:
        access = require_token(get_key_access(configuration, key, pin=pin, module=module)[0])
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            name = _find_name_on(connection, access.uri)
            entry = _find_entry(connection, name)
            ceremony.set_key(entry)
            stored = list(entry.certificates)
            chosen = [one for one in stored if wanted is None or one.serial_number == wanted]
            if len(chosen) != 1:
                raise explain_no_single_certificate(str(name), stored, chosen, serial)
            number, subject = f"{chosen[0].serial_number:x}", chosen[0].subject.rfc4514_string()
            consequence = f"Certificate {number} of '{subject}' will be deleted."
            if find_states(stored)[chosen[0]] is CertificateState.IN_USE:
                consequence += " It is the one in use."
            ceremony.set_certificates(chosen)
            require_confirmation(number, yes, consequence, normalise=format_serial)
            delete_certificate(connection, Pkcs11Uri(object=name.label or None, id=name.id or None), chosen[0])
    output.outcome(True, f"Certificate {number} of '{output.shown(subject)}' was deleted; key {name} was kept.")
    ceremony.print()


def _name_identities(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"identity {quoted[0]}" if len(quoted) == 1 else f"the identities {', '.join(quoted)}"


def _find_name_on(connection: Connection, wanted: Pkcs11Uri) -> NameOnToken:
    """Return label and id of the only private key that a URI selects."""
    from tokens.pkcs11.ceremony import read_key_name

    return read_key_name(connection, wanted)


def _find_entry(connection: Connection, name: NameOnToken) -> KeyEntry:
    """Return a key that was found by its name, with its certificates. Raises `NoSuchKeyError`."""
    from tokens.errors import NoSuchKeyError
    from tokens.pkcs11.ceremony import read_keys

    entry = next((one for one in read_keys(connection) if one.name == name), None)
    if entry is None:
        raise NoSuchKeyError(f"Key {name} on {connection.token.description} is of a kind that is not supported.")
    return entry


def _id(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter("The id must be hexadecimal, such as 01ab.", param_hint="--id") from None
