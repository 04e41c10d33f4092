"""Reports on secret keys: text for people, JSON for programs; of a key value, only the check value."""

from __future__ import annotations

from typing import Any

from hsm_dicom.cli.components import format_check_value
from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.key_report import findings_json, print_findings
from tokens.pkcs11.secret_keys.ceremony import SecretEntry
from tokens.policy import KeyPolicy, assess_secret_key
from tokens.secrets import Use


def print_secret(entry: SecretEntry) -> None:
    """Print a secret key and the findings of the policy."""
    output.say(
        (f"{entry.use} {entry.index}", "bold"),
        f"  {output.shown(entry.info.label)}, {entry.info.form.name}, {uses(entry)}, "
        f"check value {format_check_value(entry.check_value)}",
        hang=2,
    )
    print_findings(assess_secret_key(entry.info.attributes, KeyPolicy()), indent=2)


def uses(entry: SecretEntry) -> str:
    """Return the uses of a secret key, in words."""
    encrypts, decrypts = entry.info.encrypts, entry.info.decrypts
    words = ("answers", "verifies") if entry.use is Use.AUTHENTICATION else ("encrypts", "decrypts")
    return " and ".join(word for word, may in zip(words, (encrypts, decrypts), strict=True) if may) or "of no use"


def secret_json(entry: SecretEntry) -> dict[str, Any]:
    """Return a secret key as JSON."""
    info, attributes = entry.info, entry.info.attributes
    return {
        "use": entry.use.value,
        "index": entry.index,
        "label": info.label,
        "form": info.form.key_type.name.lstrip("_"),
        "check_value": None if entry.check_value is None else entry.check_value.hex(),
        "encrypts": info.encrypts,
        "decrypts": info.decrypts,
        "derives": info.derives,
        "signs": info.signs,
        "sensitive": attributes.sensitive,
        "extractable": attributes.extractable,
        "findings": findings_json(assess_secret_key(attributes, KeyPolicy())),
    }
