"""Which deadline applies to which PKCS#11 function."""

from __future__ import annotations

from tokens.deadlines import CallDeadlines
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


def kind_of(function: Function, *, awaits_person: bool = False) -> str:
    """Return the field of `CallDeadlines` for a call; `awaits_person` for a PIN that is typed on the device itself."""
    return "person" if awaits_person else _KIND_OF.get(function, "session")


def limit_of(kind: str, deadlines: CallDeadlines) -> float:
    """Return the seconds that a call of a kind may take."""
    limit: float = getattr(deadlines, kind)
    return limit
