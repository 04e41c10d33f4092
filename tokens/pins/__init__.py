"""PINs: ``sources`` they come from, ``credentials`` in use, and the memory of refused ones (``refusals``, kept on disk
by ``refusal_record``)."""
