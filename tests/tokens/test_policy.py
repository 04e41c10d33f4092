"""What a key must be, attribute by attribute."""

from dataclasses import replace

import pytest

from tokens.errors import KeyPolicyError
from tokens.policy import KeyAttributes, KeyPolicy, Weakness, assess_key, enforce

GOOD = KeyAttributes(
    key_type="RSA",
    size_bits=2048,
    sensitive=True,
    extractable=False,
    always_sensitive=True,
    never_extractable=True,
    local=True,
    sign=True,
    decrypt=False,
    unwrap=False,
)


def weaknesses(key: KeyAttributes, policy: KeyPolicy | None = None) -> dict[Weakness, bool]:
    return {finding.weakness: finding.refusal for finding in assess_key(key, policy or KeyPolicy())}


def test_a_key_made_inside_the_token_has_nothing_against_it() -> None:
    assert weaknesses(GOOD) == {}


@pytest.mark.parametrize(
    ("changes", "weakness", "refused"),
    [
        ({"extractable": True}, Weakness.EXTRACTABLE, True),
        ({"extractable": None}, Weakness.EXTRACTABLE, True),
        ({"sensitive": False}, Weakness.NOT_SENSITIVE, True),
        ({"sensitive": None}, Weakness.NOT_SENSITIVE, True),
        ({"size_bits": 1024}, Weakness.SHORT, True),
        ({"local": False}, Weakness.IMPORTED, False),
        ({"local": None}, Weakness.IMPORTED, False),
        ({"never_extractable": False}, Weakness.ONCE_EXPOSED, False),
        ({"always_sensitive": False}, Weakness.ONCE_EXPOSED, False),
        ({"decrypt": True}, Weakness.SIGNS_AND_DECRYPTS, False),
    ],
)
def test_each_weakness_is_found(changes: dict[str, object], weakness: Weakness, refused: bool) -> None:
    assert weaknesses(replace(GOOD, **changes)) == {weakness: refused}


def test_a_short_curve_is_not_a_short_rsa_key() -> None:
    assert weaknesses(replace(GOOD, key_type="secp256r1", size_bits=256)) == {}


def test_a_refusal_says_how_to_allow_the_key_by_name() -> None:
    key = replace(GOOD, extractable=True, local=False)
    with pytest.raises(KeyPolicyError, match=r'allow = \["extractable"\]') as caught:
        enforce("Key 'x'", key, KeyPolicy())
    assert "can be taken off the token" in str(caught.value)


def test_an_allowed_weakness_is_still_named() -> None:
    policy = KeyPolicy(allow=frozenset({Weakness.EXTRACTABLE}))
    findings = enforce("Key 'x'", replace(GOOD, extractable=True), policy)
    assert [(f.weakness, f.refusal) for f in findings] == [(Weakness.EXTRACTABLE, False)]
