"""The ISCL protocol machine, without I/O.

``states`` has the transition table; ``connection`` maps bytes to messages within it; ``session`` runs a whole exchange,
with ``agreement`` and ``authentication`` at its start, and ``sending`` and ``receiving`` after that; ``refusals`` words
the reasons for ending.
"""
