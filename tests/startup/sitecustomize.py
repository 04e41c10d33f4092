"""What every Python process of the tests runs first: it makes the digest of a PIN cheap.

The product computes an scrypt digest of each PIN that it presents, on purpose at the cost of a tenth of a second. The
tests log in thousands of times. tests/conftest.py puts this folder on PYTHONPATH, so that all processes of a test
recognise the same PINs. tests/tokens/test_refusals.py holds the parameters of the product.
"""

from __future__ import annotations

import hashlib
from typing import Any

_scrypt = hashlib.scrypt


def _cheap_scrypt(password: Any, *, salt: Any, n: int, r: int, p: int, maxmem: int = 0, dklen: int = 64) -> bytes:
    return _scrypt(password, salt=salt, n=2, r=1, p=1, dklen=dklen)


hashlib.scrypt = _cheap_scrypt
