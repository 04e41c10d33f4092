"""Revocation: evidence of one CRL (``crl``) or OCSP response (``ocsp``), and the ``decision`` from all evidence."""
