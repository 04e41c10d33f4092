"""DIMSE messages (PS3.7): ``commands`` as encoded, ``messages`` assembled in bounded memory, and ``answers``
matched to their requests."""
