"""ISCL messages as bytes (PS3.15-2008 B.2).

``profile`` fixes every choice that the standard leaves open; ``messages`` are the messages as records; ``table`` names
their codes; ``encoding`` maps records to bytes and back; ``blocks`` and ``units`` are data areas; ``validation`` checks
what a message means once its form is right.
"""
