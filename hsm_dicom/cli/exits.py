"""Exit statuses. `verify` answers like DCMTK's dcmsign where both have a word for it."""

from __future__ import annotations

OK = 0
FAILED = 1
"""What was asked could not be done, or was not done for every file."""
USAGE = 2
"""The command line itself is wrong, a name of a PIN source on it among that."""
REFUSED = 77
"""A PIN was refused, is locked, or was held back: another try could lock the token, or needs a person.

The same number as `tokens.errors.REFUSED_EXIT_CODE`. A PIN that could not be read from its source is FAILED: nothing
was presented, and the next try may find it.
"""
NO_SIGNATURE = 100
"""A file has no signature."""
BAD_SIGNATURE = 101
"""A signature is invalid or indeterminate."""
POLICY_NOT_MET = 102
"""All signatures are valid, but not what was required."""
