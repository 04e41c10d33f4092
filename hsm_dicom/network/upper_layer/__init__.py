"""The DICOM Upper Layer (PS3.8): PDUs, association negotiation, and associations that end in bounded time.

``pdu`` splits a stream into PDUs; ``negotiation`` reads those of association negotiation; ``request`` reads the first
one of a new connection; ``provider`` and ``association`` replace the reading and waiting of pynetdicom's classes;
``file_data`` makes PDUs of a Data Set in a file; ``endings`` says who ended an association, and why.
"""
