"""Secret key objects on a token: named by what they are for, found, read into plain data, derived from.

A secret is a secret key object whose label is PREFIX-authentication-INDEX or PREFIX-encryption-INDEX. All functions
work inside one session, on the thread that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass, SecretKey, Session
from pkcs11 import exceptions as p11
from pkcs11.constants import DEFAULT

from tokens.errors import MechanismNotOffered, NoSuchKey, SeveralKeys, UnsupportedKey
from tokens.pkcs11.des_forms import FORM_OF_TYPE, DesForm, EncryptData, name
from tokens.policy import KeyAttributes
from tokens.secrets import Use

DEFAULT_PREFIX = "secret"
"""The prefix of labels where the URI names no object."""

_CANNOT_DERIVE = (
    p11.AttributeTypeInvalid,
    p11.AttributeValueInvalid,
    p11.FunctionNotSupported,
    p11.MechanismInvalid,
    p11.MechanismParamInvalid,
    p11.TemplateInconsistent,
)


def label_of(prefix: str, use: Use, index: int) -> str:
    """CKA_LABEL of a secret: secret-authentication-1."""
    return f"{prefix}-{use}-{index}"


@dataclass(frozen=True)
class SecretInfo:
    """One secret as the token describes it."""

    label: str
    form: DesForm
    attributes: KeyAttributes
    encrypts: bool
    decrypts: bool
    derives: bool
    signs: bool


def find_secret(session: Session, label: str, token_description: str) -> SecretKey:
    """The one secret key object with this label. Raises `NoSuchKey` or `SeveralKeys`, which say what is there."""
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}
    found = list(session.get_objects(wanted))
    if len(found) == 1:
        return found[0]  # type: ignore[return-value]
    if found:
        raise SeveralKeys(
            f"{len(found)} secret keys on {token_description} have the label '{label}'; delete all but one."
        )
    labels = sorted(
        str(told(o, Attribute.LABEL)) for o in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
    )
    holds = f"It holds: {', '.join(labels)}" if labels else "It shows no secret key"
    raise NoSuchKey(f"There is no secret key '{label}' on {token_description}. {holds}. See hsm-dicom secret import.")


def describe(key: SecretKey) -> SecretInfo:
    """What the token says of a secret. Raises `UnsupportedKey` for one that is no DES key."""
    label = str(told(key, Attribute.LABEL))
    form = FORM_OF_TYPE.get(told(key, Attribute.KEY_TYPE) or KeyType.RSA)
    if form is None:
        raise UnsupportedKey(f"Secret '{label}' is no DES key (CKK_DES, CKK_DES2 or CKK_DES3).")
    attributes = KeyAttributes(
        key_type="DES",
        size_bits=form.value_bits,
        sensitive=told(key, Attribute.SENSITIVE),
        extractable=told(key, Attribute.EXTRACTABLE),
        always_sensitive=told(key, Attribute.ALWAYS_SENSITIVE),
        never_extractable=told(key, Attribute.NEVER_EXTRACTABLE),
        local=told(key, Attribute.LOCAL),
    )
    return SecretInfo(
        label=label,
        form=form,
        attributes=attributes,
        encrypts=bool(told(key, Attribute.ENCRYPT)),
        decrypts=bool(told(key, Attribute.DECRYPT)),
        derives=bool(told(key, Attribute.DERIVE)),
        signs=bool(told(key, Attribute.SIGN)),
    )


def told(found: Any, attribute: Attribute) -> Any:
    """An attribute, or None where the token does not tell it."""
    try:
        return found[attribute]
    except (p11.AttributeTypeInvalid, p11.AttributeSensitive, p11.FunctionFailed, ValueError):
        return None


def derive_from(base: Any, form: DesForm, random: bytes) -> Any:
    """A session key object: 8 random bytes encrypted under `base`, never leaving the token (PKCS#11 v3.1, 6.29).

    Lives as long as the session that `base` was found in. Raises `MechanismNotOffered`.
    """
    # E(R)‖E(R) is to E(R) what K‖K is to K: the derived key has its base key's form.
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
        raise MechanismNotOffered(
            f"The token does not derive keys with {name(form.derive)} ({type(error).__name__})."
        ) from error
