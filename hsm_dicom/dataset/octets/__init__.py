"""Encoded bytes: ``source`` reads them from a file or a buffer, ``pieces`` splits the MAC byte stream of a sequence.

``hashed`` hashes a stream of which a part was hashed before.
"""
