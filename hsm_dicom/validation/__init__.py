"""The verdict: who signed, when, whether they were allowed to, and what the signature covers.

``validator`` computes it from the results of `hsm_dicom.signatures.integrity`, with ``coverage``, ``signing_time`` and
``trust`` for its parts and a ``policy`` for its demands; ``result`` holds the records that it returns.
"""
