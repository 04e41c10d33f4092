"""Contexts for identities with siblings: each connection uses the certificate and key of one that works."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hashes

from hsm_dicom.identity import Identity
from hsm_dicom.tls._sslcontext import SelectingContext
from hsm_dicom.tls.errors import ContextError
from hsm_dicom.tls.signer import keep_failure
from tokens.errors import TokenError

Build = Callable[[Sequence[Identity], type[ssl.SSLContext]], ssl.SSLContext]
"""Makes a context of a kind with these identities, none of which has siblings to choose from."""


def follow_siblings(identities: Sequence[Identity], build: Build) -> ssl.SSLContext:
    """Make a context; if an identity has siblings, one that chooses among them for each connection.

    Its handshake fails with the error of the tokens if no sibling can be used. Raises what `build` raises.
    """
    if all(one.siblings is None for one in identities):
        return build(identities, ssl.SSLContext)
    first = build(identities, SelectingContext)
    if not isinstance(first, SelectingContext):
        raise TypeError("build must make a context of the given kind.")
    first.select = _Choice(identities, build, first)
    return first


class _Choice:
    """The context for the next connection: one for each combination of siblings, made when it is first needed."""

    def __init__(self, identities: Sequence[Identity], build: Build, first: ssl.SSLContext) -> None:
        self._identities = tuple(identities)
        self._build = build
        self._making = threading.Lock()
        self._contexts = {_key(identities): first}

    def __call__(self) -> ssl.SSLContext:
        try:
            chosen = [one.select() for one in self._identities]
            with self._making:
                key = _key(chosen)
                if key not in self._contexts:
                    self._contexts[key] = self._build(chosen, ssl.SSLContext)
                return self._contexts[key]
        except (TokenError, ContextError) as error:
            keep_failure(error)
            failed = ssl.SSLError(f"No certificate can be used: {error}")
            failed.reason = None  # type: ignore[assignment]
            raise failed from error


def _key(identities: Sequence[Identity]) -> tuple[bytes, ...]:
    return tuple(one.certificate.fingerprint(hashes.SHA256()) for one in identities)
