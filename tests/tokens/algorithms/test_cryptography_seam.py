"""`cryptography` still keeps the parameters of its paddings where `tokens/algorithms/_cryptography.py` reads them."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tokens.algorithms import _cryptography as seam

CHANGED = (
    f"cryptography {version('cryptography')} keeps the parameters of paddings elsewhere: "
    "adapt tokens/algorithms/_cryptography.py"
)


def parameters(salt_length: object, **wishes: int) -> int:
    padding = paddings.PSS(paddings.MGF1(hashes.SHA384()), salt_length)  # type: ignore[arg-type]
    return seam.pss_salt_length(padding, wishes.get("digest_size", 32), wishes.get("key_bits", 2048))


def test_the_hash_of_the_mask_and_the_label_are_read() -> None:
    try:
        pss = paddings.PSS(paddings.MGF1(hashes.SHA384()), 20)
        oaep = paddings.OAEP(paddings.MGF1(hashes.SHA512()), hashes.SHA256(), b"label")
        read = seam.mgf_hash(pss).name, seam.mgf_hash(oaep).name, seam.oaep_label(oaep)
        prehashed = seam.get_prehashed_algorithm(Prehashed(hashes.SHA3_256())).name
    except AttributeError as error:
        pytest.fail(f"{CHANGED} ({error}).")
    assert read == ("sha384", "sha512", b"label"), CHANGED
    assert prehashed == "sha3-256", CHANGED


@pytest.mark.parametrize(
    ("salt_length", "expected"),
    [(20, 20), (0, 0), (paddings.PSS.DIGEST_LENGTH, 32), (paddings.PSS.MAX_LENGTH, 256 - 32 - 2)],
)
def test_each_kind_of_salt_length_is_understood(salt_length: object, expected: int) -> None:
    try:
        assert parameters(salt_length) == expected, CHANGED
    except AttributeError as error:
        pytest.fail(f"{CHANGED} ({error}).")


def test_the_longest_salt_is_that_of_cryptography() -> None:
    """RFC 8017 9.1.1: emBits is one less than the size of the modulus."""
    padding = paddings.PSS(paddings.MGF1(hashes.SHA256()), paddings.PSS.MAX_LENGTH)
    for bits in (2047, 2048, 2049):
        assert seam.pss_salt_length(padding, 32, bits) == (bits - 1 + 7) // 8 - 32 - 2


def test_an_automatic_salt_length_is_refused_for_signing() -> None:
    with pytest.raises(ValueError, match="AUTO"):
        parameters(paddings.PSS.AUTO)
