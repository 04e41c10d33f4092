"""Calls into a PKCS#11 module: `queries` and `cryptoki` make them, `return_values` and `faults` classify CK_RV,
`capabilities` caches the mechanisms of a token."""
