"""Revocation: what one CRL (``crl``) or OCSP response (``ocsp``) says, and the ``decision`` from all of them."""
