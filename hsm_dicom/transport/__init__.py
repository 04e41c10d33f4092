"""Secure transports for DICOM associations, behind one port.

``port`` defines `SecureTransport`; ``tls``, ``legacy_tls`` and ``iscl`` implement it; ``sockets`` and ``pump`` adapt
them to what pynetdicom expects; ``iscl_keys`` owns the secret keys of an ISCL transport; ``events`` are what happens
between this node and its peers.
"""
