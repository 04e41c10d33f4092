"""Why an object with a matching MAC may still not be what was signed.

``record`` defines an anomaly and its weight; each of the other modules finds one kind: ``envelope``, ``fragments``,
``level``, ``outside`` (with ``ignorable``), ``converted``, ``remarks``.
"""
