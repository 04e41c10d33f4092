"""Which deadline applies to which PKCS#11 function."""

from __future__ import annotations

from tokens.pkcs11.calls.functions import Function

_WRITES = (Function.CREATE_OBJECT, Function.DESTROY_OBJECT)
"""They write to the token's memory, which takes a card seconds."""

_KINDS = {
    "sign": (
        Function.ENCRYPT_INIT,
        Function.ENCRYPT,
        Function.DECRYPT_INIT,
        Function.DECRYPT,
        Function.SIGN_INIT,
        Function.SIGN,
        Function.DERIVE_KEY,
    ),
    "login": (Function.INITIALIZE, Function.INIT_PIN, Function.SET_PIN, Function.LOGIN, *_WRITES),
    "generate": (Function.INIT_TOKEN, Function.GENERATE_KEY_PAIR),
}
_KIND_OF = {function: kind for kind, functions in _KINDS.items() for function in functions}


PERSON = "person"
"""The field for a call that waits for a PIN which is typed on the device itself."""


def kind_of(function: Function) -> str:
    """Return the field of `CallDeadlines` for a call that waits for nobody."""
    return _KIND_OF.get(function, "session")
