"""Secret key objects on a token: their labels, their attributes, and keys derived from them.

The label of a secret key object is PREFIX-authentication-INDEX or PREFIX-encryption-INDEX. All functions work in one
session, on the thread that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pkcs11 import Attribute, Mechanism, ObjectClass
from pkcs11 import exceptions as p11

from tokens.errors import Facts, MechanismNotOfferedError, NoSuchKeyError, Reason, SeveralKeysError, UnsupportedKeyError
from tokens.pkcs11.attributes import pack
from tokens.pkcs11.calls.faults import name as fault_name
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.calls.structures import DerivationData
from tokens.pkcs11.objects import Objects
from tokens.pkcs11.secret_keys.des_forms import FORM_OF_TYPE, DesForm, name
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

_DERIVED: dict[Attribute, object] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.SIGN: True,
}
"""The attributes of a session key, beside its type."""

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


@dataclass(frozen=True)
class SecretKey:
    """A secret key object in one session, with the calls that use it. Key and session are handles."""

    queries: Queries
    session: int
    handle: int

    def encrypt(self, mechanism: Mechanism, data: bytes, parameter: object = None) -> bytes:
        """Return the ciphertext of whole blocks (C_Encrypt)."""
        return self.queries.encrypt(self.session, self.handle, mechanism, parameter, data)

    def decrypt(self, mechanism: Mechanism, data: bytes, parameter: object = None) -> bytes:
        """Return the plaintext of whole blocks (C_Decrypt)."""
        return self.queries.decrypt(self.session, self.handle, mechanism, parameter, data)

    def mac(self, mechanism: Mechanism, data: bytes, parameter: object = None) -> bytes:
        """Return the MAC of the data (C_Sign)."""
        return self.queries.sign(self.session, self.handle, mechanism, parameter, data)

    def read(self, attribute: Attribute) -> bytes:
        """Return an attribute; empty if the token does not report it (C_GetAttributeValue)."""
        try:
            return self.queries.attributes(self.session, self.handle, (attribute,)).get(attribute, b"")
        except p11.FunctionFailed:
            return b""

    def derive(self, form: DesForm, random: bytes) -> SecretKey:
        """Return a session key object: 8 random bytes encrypted under this key inside the token.

        It ends with the session (PKCS#11 v3.1, 6.29). Raises `MechanismNotOfferedError`.
        """
        # The data is repeated as this key's value is, so the derived key has the same form.
        data = DerivationData(random * form.copies)
        template: dict[int, bytes] = {kind: pack(value) for kind, value in _DERIVED.items()}
        template[Attribute.KEY_TYPE] = pack(int(form.key_type))
        try:
            made = self.queries.derive_key(self.session, self.handle, form.derive, data, template)
        except _CANNOT_DERIVE as error:
            raise MechanismNotOfferedError(
                f"The token does not derive keys with {name(form.derive)} ({fault_name(error)})."
            ) from error
        return replace(self, handle=made)

    def destroy(self) -> None:
        """Delete the object (C_DestroyObject)."""
        self.queries.destroy_object(self.session, self.handle)


def create_secret(queries: Queries, session: int, template: Mapping[Attribute, object]) -> SecretKey:
    """Create a secret key object (C_CreateObject)."""
    made = queries.create_object(session, {kind: pack(value) for kind, value in template.items()})
    return SecretKey(queries, session, made)


def find_secret(queries: Queries, session: int, label: str, token_description: str) -> SecretKey:
    """Return the one secret key object with this label.

    Raises `NoSuchKeyError` or `SeveralKeysError`, which list what the token holds.
    """
    objects = Objects(queries, session)
    found = objects.find({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label})
    if len(found) == 1:
        return SecretKey(queries, session, found[0])
    if found:
        raise SeveralKeysError(
            f"{len(found)} secret keys on {token_description} have the label '{label}'.",
            remedy="Delete all but one.",
        )
    labels = sorted(objects.name(each).label for each in objects.find({Attribute.CLASS: ObjectClass.SECRET_KEY}))
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
        if number is None:
            raise UnsupportedKeyError(f"The token does not report the type of secret key '{label}' (CKA_KEY_TYPE).")
        raise UnsupportedKeyError(f"Secret key '{label}' is not a DES key (CKK_DES, CKK_DES2 or CKK_DES3).")
    uses = {field: reported.flag(attribute) is True for field, attribute in _USES.items()}
    protection = {field: reported.flag(attribute) for field, attribute in _PROTECTION.items()}
    attributes = KeyAttributes(key_type="DES", size_bits=form.value_bits, odd=reported.odd, **protection)
    return SecretInfo(label=label, form=form, attributes=attributes, **uses)
