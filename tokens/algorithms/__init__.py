"""Algorithms on the host: ``hashing``, RSA encodings (``rsa_encoding``, ``unpadding``), and DES keys as numbers."""
