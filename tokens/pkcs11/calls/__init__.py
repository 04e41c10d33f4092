"""Calls into a PKCS#11 module: ``queries`` and ``cryptoki`` make them, ``python_tokens`` prepares python-pkcs11's
objects, ``return_values`` and ``faults`` classify CK_RV, ``capabilities`` caches the mechanisms of a token."""
