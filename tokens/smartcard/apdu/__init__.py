"""APDUs (ISO/IEC 7816-4): their ``encoding``, ``commands``, ``status`` words and ``tlv`` data objects."""
