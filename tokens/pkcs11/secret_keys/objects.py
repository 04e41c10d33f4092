"""Secret key objects on a token: their labels, their attributes, and keys derived from them.

The label of a secret key object is PREFIX-authentication-INDEX or PREFIX-encryption-INDEX. All functions work in one
session, on the thread that holds it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from pkcs11 import Attribute, MechanismFlag, ObjectClass, SecretKey, Session
from pkcs11 import exceptions as p11
from pkcs11.constants import DEFAULT

from tokens.errors import Facts, MechanismNotOfferedError, NoSuchKeyError, Reason, SeveralKeysError, UnsupportedKeyError
from tokens.pkcs11.objects import Objects
from tokens.pkcs11.secret_keys.des_forms import FORM_OF_TYPE, DesForm, EncryptData, name
from tokens.policy import KeyAttributes
from tokens.secrets import Use

DEFAULT_PREFIX = "secret"
"""The prefix of labels if the URI has no object."""

_CANNOT_DERIVE = (
    p11.AttributeTypeInvalid,
    p11.AttributeValueInvalid,
    p11.FunctionNotSupported,
    p11.MechanismInvalid,
    p11.MechanismParamInvalid,
    p11.TemplateInconsistent,
)


_PROTECTION = {
    "sensitive": Attribute.SENSITIVE,
    "extractable": Attribute.EXTRACTABLE,
    "always_sensitive": Attribute.ALWAYS_SENSITIVE,
    "never_extractable": Attribute.NEVER_EXTRACTABLE,
    "local": Attribute.LOCAL,
}
"""The fields of `KeyAttributes` that are a CK_BBOOL of a secret key."""

_USES = {
    "encrypts": Attribute.ENCRYPT,
    "decrypts": Attribute.DECRYPT,
    "derives": Attribute.DERIVE,
    "signs": Attribute.SIGN,
}


def label_of(prefix: str, use: Use, index: int) -> str:
    """Return the CKA_LABEL of a secret key, for example secret-authentication-1."""
    return f"{prefix}-{use}-{index}"


@dataclass(frozen=True)
class SecretInfo:
    """A secret key as the token describes it."""

    label: str
    form: DesForm
    attributes: KeyAttributes
    encrypts: bool
    decrypts: bool
    derives: bool
    signs: bool


def find_secret(session: Session, label: str, token_description: str) -> SecretKey:
    """Return the one secret key object with this label.

    Raises `NoSuchKeyError` or `SeveralKeysError`, which list what the token holds, and `UnsupportedKeyError`.
    """
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}
    try:
        found = list(session.get_objects(wanted))
    except struct.error as error:  # from python-pkcs11, which reads the usage of each key that it finds
        raise UnsupportedKeyError(
            f"Secret key '{label}' on {token_description} has an attribute of the wrong length, so its use is not "
            "known.",
            remedy="Look for an update of the token's module, or import the key again.",
        ) from error
    if len(found) == 1:
        return found[0]  # type: ignore[return-value]
    if found:
        raise SeveralKeysError(
            f"{len(found)} secret keys on {token_description} have the label '{label}'.",
            remedy="Delete all but one.",
        )
    labels = sorted(
        str(read_attribute(o, Attribute.LABEL)) for o in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
    )
    holds = f"It holds: {', '.join(labels)}" if labels else "It holds no secret key that can be seen"
    raise NoSuchKeyError(
        f"There is no secret key '{label}' on {token_description}. {holds}.",
        remedy="Import it.",
        facts=Facts(reason=Reason.SECRET_KEY_MISSING),
    )


def describe(objects: Objects, handle: int) -> SecretInfo:
    """Return what the token reports about a secret key. Raises `UnsupportedKeyError` unless it is a DES key."""
    reported = objects.read(handle, (Attribute.LABEL, Attribute.KEY_TYPE, *_PROTECTION.values(), *_USES.values()))
    label = reported.text(Attribute.LABEL)
    number = reported.number(Attribute.KEY_TYPE)
    form = next((form for kind, form in FORM_OF_TYPE.items() if kind == number), None)
    if form is None:
        raise UnsupportedKeyError(f"Secret key '{label}' is not a DES key (CKK_DES, CKK_DES2 or CKK_DES3).")
    uses = {field: reported.flag(attribute) is True for field, attribute in _USES.items()}
    protection = {field: reported.flag(attribute) for field, attribute in _PROTECTION.items()}
    attributes = KeyAttributes(key_type="DES", size_bits=form.value_bits, odd=reported.odd, **protection)
    return SecretInfo(label=label, form=form, attributes=attributes, **uses)


def read_attribute(found: Any, attribute: Attribute) -> Any:
    """Return an attribute, or None if the token does not report it."""
    try:
        return found[attribute]
    except (p11.AttributeTypeInvalid, p11.AttributeSensitive, p11.FunctionFailed, ValueError, struct.error):
        return None


def derive_from(base: Any, form: DesForm, random: bytes) -> Any:
    """Return a session key object: 8 random bytes encrypted under `base` inside the token (PKCS#11 v3.1, 6.29).

    It ends with the session in which `base` was found. Raises `MechanismNotOfferedError`.
    """
    # The data is repeated as the base key's value is, so the derived key has the same form.
    data = EncryptData(random * form.copies)
    template: dict[Attribute, Any] = {
        Attribute.TOKEN: False,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.VALUE_LEN: DEFAULT,
    }
    try:
        return base.derive_key(
            form.key_type,
            form.value_bits,
            mechanism=form.derive,
            mechanism_param=data.parameter,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT | MechanismFlag.SIGN,
            template=template,
        )
    except _CANNOT_DERIVE as error:
        raise MechanismNotOfferedError(
            f"The token does not derive keys with {name(form.derive)} ({type(error).__name__})."
        ) from error
