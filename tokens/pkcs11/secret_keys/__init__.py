"""Secret DES keys on a PKCS#11 token: the ``driver`` of the secrets port, the ``objects`` and ``des_forms`` behind it,
the officer's ``ceremony``, the ``components`` that officers hand over, and the ``check`` of a token."""
