"""Remedies for errors of devices, with the commands, options and configuration keys of this product.

`tokens` raises errors with facts (`tokens.errors.Facts`); this table makes the sentences. Every process that imports
`hsm_dicom` uses it, so `Error.remedy` is the same in the API, in logs, events and JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tokens.errors import Error, Facts, Reason, TokenError, UriError

if TYPE_CHECKING:
    from tokens.uri import Pkcs11Uri

_configured: dict[Pkcs11Uri, str] = {}


def name_tokens(words: Mapping[Pkcs11Uri, str]) -> None:
    """Use these words in the commands of remedies, instead of the URIs of the same tokens.

    A configuration gives them when it is read: the NAME of each token, and the option that selects the file.
    """
    _configured.update(words)


def _word(uri: str) -> str:
    """Return how a command names the device: as the configuration does, or by its URI."""
    from tokens.uri import Pkcs11Uri  # here, since every import of this package loads the remedies

    try:
        device = Pkcs11Uri.parse(uri)
    except UriError:  # a card's
        return f"'{uri}'"
    words = {word for known, word in _configured.items() if _is_same(known, device)}
    return words.pop() if len(words) == 1 else f"'{uri}'"


def _is_same(known: Pkcs11Uri, device: Pkcs11Uri) -> bool:
    """Return whether a configured token is this device."""
    pairs = ((known.token, device.token), (known.serial, device.serial))
    if not all(wanted is None or wanted == found for wanted, found in pairs):
        return False
    one, other = known.module_path, device.module_path
    return one is None or other is None or one.resolve() == other.resolve()


def remedy_of(error: Error) -> str | None:
    """Return the remedy for a device's error, as a sentence; None to keep the default remedy of the error."""
    if not isinstance(error, TokenError) or error.facts is None:
        return None
    sentence = _REMEDIES.get(error.facts.reason)
    return None if sentence is None else sentence(error.facts)


def _is_so(facts: Facts) -> bool:
    return facts.role == "so"


def _by_hand(facts: Facts) -> str:
    """Return the command to present a PIN by hand."""
    command = "card check" if facts.uri.startswith("card:") else "token login"
    return f"hsm-dicom {command} {_word(facts.uri)} --pin {facts.pin_source}"


def _unlock(facts: Facts) -> str | None:
    if _is_so(facts):
        return None
    command = f"hsm-dicom token reset-pin {_word(facts.uri)}"
    if not facts.uri.startswith("card:"):
        return f"The security officer must set a new one: {command}"
    if not any(f"profile={name}" in facts.uri for name in ("piv", "openpgp")):
        return None
    return f"Set a new one with the card's PUK (PIV) or admin PIN (OpenPGP): {command}"


def _last_retry(facts: Facts) -> str | None:
    if _is_so(facts):
        return None
    return f"Present the correct one by hand to reset the retry counter: {_by_hand(facts)} --last-try"


def _counter_low(facts: Facts) -> str:
    if _is_so(facts):
        return "Type it, with --so-pin prompt."
    return f"Present the correct one by hand to reset the retry counter: {_by_hand(facts)}"


def _wrong(facts: Facts) -> str:
    if facts.attended:
        return "Run the command again with the correct PIN."
    if _is_so(facts):
        return "Correct the PIN in its source, or type it, with --so-pin prompt."
    return "Correct the PIN in its source, then present it once by hand to reset the retry counter: " + _by_hand(facts)


def _unanswered(facts: Facts) -> str:
    by_hand = "type it, with --so-pin prompt" if _is_so(facts) else f"present it by hand: {_by_hand(facts)}"
    return f"When the device answers again, {by_hand}; or, if this PIN is correct, clear the record: {_clear(facts)}"


def _clear(facts: Facts) -> str:
    return f"hsm-dicom token clear-rejected-pin {_word(facts.reference)}"


def _wait_longer(facts: Facts) -> str:
    setting = f"{facts.setting} = SECONDS under [tokens.NAME.deadlines]"
    if facts.setting == "person":
        return f"Run the command again, and enter the PIN on the device in time; or allow more time: {setting}"
    return (
        "Check the device and its connection; it is used again when it answers. If it is only slow, allow it more "
        f"time: {setting}"
    )


def _allow(facts: Facts) -> str:
    names = ", ".join(f'"{weakness}"' for weakness in facts.weaknesses)
    return f"allow = [{names}]"


_REMEDIES: dict[Reason, Callable[[Facts], str | None]] = {
    Reason.CARD_PACKAGE_MISSING: lambda _: (
        "On Debian: apt-get install gcc python3-dev libpcsclite-dev pcscd; "
        f"then: {sys.prefix}/bin/pip install 'pyscard>=2.3.1,<3'"
    ),
    Reason.CREDENTIAL_OUTSIDE_UNIT: lambda facts: (
        "Run this in a unit of hsm-dicom: systemd-run --pipe --wait --collect --unit=hsm-dicom-manual hsm-dicom …; if "
        f"this is one, add LoadCredentialEncrypted={facts.setting}:PATH to it."
    ),
    Reason.DEVICE_UNTRUSTWORTHY: lambda _: "Test the device: hsm-dicom token check",
    Reason.KEY_NOT_FOR_DECRYPTION: lambda _: "Use a key that was generated with --usage decrypt.",
    Reason.KEY_NOT_FOR_SIGNING: lambda _: "Use a key that was generated with --usage sign or tls.",
    Reason.KEY_PAIR_UNANSWERED: lambda facts: (
        f"Look whether it is there before you generate another: hsm-dicom key list {_word(facts.uri)}. If the token is "
        "only slow, allow it more time: generate = SECONDS under [tokens.NAME.deadlines]"
    ),
    Reason.KEY_REFUSED: lambda facts: (
        "Generate a key inside the token (hsm-dicom key generate), or allow this one explicitly in its identity: "
        + _allow(facts)
    ),
    Reason.MODULE_NOT_FOUND: lambda _: (
        "Use the path of the .so of your HSM, for example --module /usr/lib/softhsm/libsofthsm2.so."
    ),
    Reason.MODULE_NOT_GIVEN: lambda _: "Add ?module-path=/path/of/the/module.so to it, or --module.",
    Reason.NO_ANSWER: _wait_longer,
    Reason.NOT_CALLED: lambda _: None,  # the error tells for which call the device is waited for
    Reason.NO_APPLICATION: lambda _: "Show what the cards have: hsm-dicom card list",
    Reason.NO_EMPTY_TOKEN: lambda facts: f"To erase one with all its keys, add --erase '{facts.uri}'",
    Reason.NO_FREE_SESSION: lambda _: "Lower sessions in the token's table of the configuration.",
    Reason.NO_TERMINAL: lambda facts: f"Use another source, such as {facts.setting or '--pin'} file:PATH.",
    Reason.PIN_COUNTER_LOW: _counter_low,
    Reason.PIN_EXPIRED: lambda facts: (
        None if _is_so(facts) else f"Change it: hsm-dicom token change-pin {_word(facts.uri)}"
    ),
    Reason.PIN_FILE_SHARED: lambda facts: (
        f"Run: chmod 600 {facts.path}; or, if a group of this process should read it: chmod 440 {facts.path}, and "
        "write group_readable = true under [tokens.NAME]."
    ),
    Reason.PIN_LAST_RETRY: _last_retry,
    Reason.PIN_LOCKED: _unlock,
    Reason.PIN_NOT_SET: lambda facts: f"The security officer must set it: hsm-dicom token set-pin {_word(facts.uri)}",
    Reason.PIN_REFUSED_BY_COMPANION: lambda facts: (
        "Correct the PIN in its source, or give each token a pin = of its own; then start again, or send SIGHUP to a "
        "listener."
    ),
    Reason.PIN_RECORDED: lambda facts: (
        f"Use the correct PIN; or, if this PIN is correct, clear the recorded refusal: {_clear(facts)}"
    ),
    Reason.PIN_SOURCE_MISSING: lambda _: "Add --pin prompt, pin-source in the URI, or pin in the configuration.",
    Reason.PIN_UNANSWERED: _unanswered,
    Reason.PIN_UNCLEAR: lambda facts: f"If it is correct, clear the recorded refusal: {_clear(facts)}",
    Reason.PIN_WRONG: _wrong,
    Reason.PUBLIC_KEY_MISSING: lambda _: "Import its certificate: hsm-dicom key import-cert",
    Reason.SECRET_KEY_MISSING: lambda _: "Import it: hsm-dicom secret import",
    Reason.SECRET_KEY_NOT_FOR_THIS: lambda _: "Import it for the other direction, or for both: hsm-dicom secret import",
    Reason.SECRET_KEY_REFUSED: lambda facts: (
        f"Import it again (hsm-dicom secret import), or allow it explicitly in the configuration: {_allow(facts)}"
    ),
    Reason.STATE_FOLDER_NOT_PRIVATE: lambda facts: (
        f"Run: chmod go-w {facts.path}, or set another folder in $HSM_DICOM_STATE."
    ),
    Reason.TOKEN_UNANSWERED: lambda _: (
        "Look whether it is there before you initialise another: hsm-dicom token list. If the token is only slow, "
        "allow it more time: generate = SECONDS under [tokens.NAME.deadlines]"
    ),
    Reason.STATE_FOLDER_UNUSABLE: lambda _: "Set a writable folder in $HSM_DICOM_STATE.",
}
