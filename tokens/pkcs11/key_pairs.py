"""Generate a key pair in a token, with simpler templates for tokens that refuse the first.

Tokens may refuse a template because of an attribute that is not needed (PKCS#11 v3.1, 4.1.1). Every template contains
the attributes that keep the private key in its token and limit its use; the simpler ones omit attributes whose value
the standard lets a token choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as p11

from tokens.pkcs11.attributes import pack
from tokens.pkcs11.calls.queries import Queries

Template = Mapping[int, Any]


class KeyKind(StrEnum):
    """The kinds of keys that can be generated."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P_256 = "p256"
    P_384 = "p384"

    @property
    def is_rsa(self) -> bool:
        """Whether it is an RSA key."""
        return self not in _CURVE_PARAMETERS


_CURVE_PARAMETERS = {
    KeyKind.P_256: bytes.fromhex("06082a8648ce3d030107"),
    KeyKind.P_384: bytes.fromhex("06052b81040022"),
}

_TEMPLATE_REFUSED = (
    p11.AttributeTypeInvalid,
    p11.AttributeValueInvalid,
    p11.AttributeReadOnly,
    p11.TemplateInconsistent,
    p11.TemplateIncomplete,
    p11.ArgumentsBad,
    p11.FunctionFailed,
    p11.GeneralError,
)
"""Answers of tokens to a template that they refuse; tpm2-pkcs11 1.9.0 answers GENERAL_ERROR."""

_OWN = frozenset(
    {
        *(Attribute.CLASS, Attribute.KEY_TYPE, Attribute.TOKEN, Attribute.PRIVATE, Attribute.LABEL, Attribute.ID),
        *(Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE),
        *(Attribute.LOCAL, Attribute.VALUE, Attribute.MODULUS_BITS, Attribute.PUBLIC_EXPONENT, Attribute.EC_PARAMS),
        *(Attribute.SIGN, Attribute.SIGN_RECOVER, Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE),
        *(Attribute.VERIFY, Attribute.VERIFY_RECOVER, Attribute.ENCRYPT, Attribute.WRAP),
        Attribute.ALWAYS_AUTHENTICATE,
    }
)
"""What a key is, that it stays in its token, and its one use: nothing that is given beside them changes them."""

_PUBLIC_USES = (Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP)
_FORBIDDEN_USES = (Attribute.SIGN, Attribute.DECRYPT, Attribute.UNWRAP)


def pack_attribute(name: str, value: object) -> tuple[int, bytes]:
    """Return the type and the value of an attribute that a token wants in the template of a generated key.

    `name` is as in PKCS#11 (CKA_MODIFIABLE), or the number of an attribute of a maker (0x80000001). `value` is True,
    False, a number, or a text; one that begins with 0x stands for these bytes. Raises ValueError, also for an attribute
    that the generation sets itself.
    """
    if name.lower().startswith("0x"):
        kind = int(name, 16)
    else:
        known = Attribute.__members__.get(name.removeprefix("CKA_")) if name.startswith("CKA_") else None
        kind = -1 if known is None else int(known)
    if kind in _OWN or not 0 <= kind <= 0xFFFFFFFF:
        raise ValueError("This attribute is unknown, or is set already.")
    if isinstance(value, str) and value.lower().startswith("0x"):
        return kind, bytes.fromhex(value[2:])
    if not isinstance(value, bool | int | str) or (isinstance(value, int) and value < 0):
        raise ValueError("The value is none of an attribute.")
    return kind, pack(value)


def generate_pair(
    queries: Queries, session: int, kind: KeyKind, public: Template, private: Template
) -> tuple[int, int]:
    """Generate a key pair; returns the handles of the public and the private key. Raises PKCS#11's own errors.

    The templates are what both halves are to be, beyond their kind and size.
    """
    mechanism = Mechanism.RSA_PKCS_KEY_PAIR_GEN if kind.is_rsa else Mechanism.EC_KEY_PAIR_GEN
    refusals: list[p11.PKCS11Error] = []
    for public_template, private_template in _templates(kind, public, private):
        if refusals and queries.find_objects(session, _pack({Attribute.ID: private[Attribute.ID]})):
            break  # it was made for all that
        try:
            return queries.generate_key_pair(session, mechanism, _pack(public_template), _pack(private_template))
        except _TEMPLATE_REFUSED as error:
            refusals.append(error)
    raise refusals[0]


def _pack(template: Template) -> dict[int, bytes]:
    return {attribute: pack(value) for attribute, value in template.items()}


def _templates(kind: KeyKind, public: Template, private: Template) -> Iterator[tuple[Template, Template]]:
    if kind.is_rsa:
        size = int(kind.value.removeprefix("rsa-"))
        parameters: Template = {Attribute.MODULUS_BITS: size, Attribute.PUBLIC_EXPONENT: b"\1\0\1"}
        key_type = KeyType.RSA
    else:
        parameters = {Attribute.EC_PARAMS: _CURVE_PARAMETERS[kind]}
        key_type = KeyType.EC
    public = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: key_type, **parameters, **public}
    private = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: key_type, **private}
    yield public, private
    # tpm2-pkcs11 1.9.0 refuses CKA_VERIFY of a public key, and whatever else it decides by itself.
    bare = {attribute: value for attribute, value in public.items() if attribute not in _PUBLIC_USES}
    yield bare, private
    # What is false by default need not be said; what is to be true, or to keep the key in, stays.
    unsaid = [use for use in _FORBIDDEN_USES if private.get(use) is False]
    yield bare, {attribute: value for attribute, value in private.items() if attribute not in unsaid}
