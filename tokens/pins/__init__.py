"""PINs: their ``sources``, ``credentials`` in use, and the record of refusals (``refusals``, ``refusal_record``)."""
