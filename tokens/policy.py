"""Policy for private keys on tokens: required attributes, and weaknesses that an officer may allow explicitly.

The attributes are PKCS#11's (v3.1, 4.9): CKA_SENSITIVE, CKA_EXTRACTABLE, their histories CKA_ALWAYS_SENSITIVE and
CKA_NEVER_EXTRACTABLE, CKA_LOCAL (made on the token), the usage flags, and the size. A value that the token does not
tell is None, and counts as the unsafe one. So does one that cannot be of its type, and the key is refused for it.

>>> made_inside = KeyAttributes(key_type="RSA", size_bits=3072, sensitive=True, extractable=False,
...                             always_sensitive=True, never_extractable=True, local=True, sign=True)
>>> assess_key(made_inside, KeyPolicy())
()
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tokens.errors import Facts, KeyPolicyError, Reason


class Weakness(StrEnum):
    """A weakness of a key. A policy allows it by this value."""

    EXTRACTABLE = "extractable"
    NOT_SENSITIVE = "not-sensitive"
    IMPORTED = "imported"
    ONCE_EXPOSED = "once-exposed"
    SHORT = "short"
    SIGNS_AND_DECRYPTS = "signs-and-decrypts"
    DEFECTIVE_ATTRIBUTES = "defective-attributes"


REFUSED = frozenset({Weakness.EXTRACTABLE, Weakness.NOT_SENSITIVE, Weakness.SHORT, Weakness.DEFECTIVE_ATTRIBUTES})
"""The weaknesses for which a key is refused unless they are allowed explicitly. The others are findings only."""


@dataclass(frozen=True, kw_only=True)
class KeyAttributes:
    """The reported attributes of a private key. `size_bits` is the size of the modulus or the curve's field in bits."""

    key_type: str
    size_bits: int
    sensitive: bool | None = None
    extractable: bool | None = None
    always_sensitive: bool | None = None
    never_extractable: bool | None = None
    local: bool | None = None
    sign: bool | None = None
    decrypt: bool | None = None
    unwrap: bool | None = None
    always_authenticate: bool | None = None
    odd: tuple[str, ...] = ()
    """Malformed attributes, such as "CKA_EXTRACTABLE has 0 bytes where …"."""


@dataclass(frozen=True, kw_only=True)
class KeyPolicy:
    """The weaknesses that an officer allows, and the smallest RSA key in bits."""

    allow: frozenset[Weakness] = frozenset()
    minimum_rsa_bits: int = 2048


@dataclass(frozen=True)
class Finding:
    """One weakness of a key. A key with a refusal cannot be used."""

    weakness: Weakness
    text: str
    refusal: bool


def assess_key(key: KeyAttributes, policy: KeyPolicy) -> tuple[Finding, ...]:
    """Return every finding on a key, refusals first."""
    said: list[tuple[Weakness, str]] = []
    if key.extractable is not False:
        said.append(
            (
                Weakness.EXTRACTABLE,
                _flag("it can be taken off the token", "whether it can be taken off the token", key.extractable),
            )
        )
    if key.sensitive is not True:
        said.append(
            (
                Weakness.NOT_SENSITIVE,
                _flag("its value can be read in clear", "whether its value can be read in clear", key.sensitive),
            )
        )
    if key.key_type == "RSA" and key.size_bits < policy.minimum_rsa_bits:
        size = f"its {key.size_bits} bits are under {policy.minimum_rsa_bits}"
        said.append((Weakness.SHORT, size if key.size_bits else "its size is not known (the token does not say)"))
    if key.local is not True:
        said.append(
            (
                Weakness.IMPORTED,
                _flag(
                    "it was imported, so a copy may exist elsewhere",
                    "whether it was made inside, or imported from where a copy may exist,",
                    key.local,
                ),
            )
        )
    elif key.never_extractable is not True or key.always_sensitive is not True:
        exposed = False if False in (key.never_extractable, key.always_sensitive) else None
        sentence = "it was extractable or readable once, so a copy may exist"
        question = "whether it was extractable or readable once"
        said.append((Weakness.ONCE_EXPOSED, _flag(sentence, question, exposed)))
    if key.sign and (key.decrypt or key.unwrap):
        said.append((Weakness.SIGNS_AND_DECRYPTS, "it may both sign and decrypt; use one key for each"))
    if key.odd:
        contradictions = " and ".join(key.odd)
        said.append((Weakness.DEFECTIVE_ATTRIBUTES, f"{contradictions}, so nothing that the token says is certain"))
    findings = [
        Finding(weakness, sentence, weakness in REFUSED and weakness not in policy.allow) for weakness, sentence in said
    ]
    return tuple(sorted(findings, key=lambda finding: not finding.refusal))


def assess_secret_key(secret: KeyAttributes, policy: KeyPolicy) -> tuple[Finding, ...]:
    """Return the findings on a secret key, which is always imported because officers hold its components."""
    return tuple(finding for finding in assess_key(secret, policy) if finding.weakness is not Weakness.IMPORTED)


def enforce(description: str, key: KeyAttributes, policy: KeyPolicy) -> tuple[Finding, ...]:
    """Return the findings on a key. Raises `KeyPolicyError` if the key is refused."""
    findings = assess_key(key, policy)
    refusals = [finding for finding in findings if finding.refusal]
    if refusals:
        reasons = "; ".join(finding.text for finding in refusals)
        raise KeyPolicyError(
            f"{description} is not used: {reasons}.",
            remedy="Generate a key inside the token, or allow the weaknesses of this one in the key policy.",
            facts=Facts(reason=Reason.KEY_REFUSED, weaknesses=tuple(finding.weakness for finding in refusals)),
        )
    return findings


def _flag(sentence: str, question: str, value: bool | None) -> str:
    return f"{question} is not known (the token does not say)" if value is None else sentence
