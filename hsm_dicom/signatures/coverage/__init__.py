"""Coverage of signatures.

``shares`` sorts an object into signed and unsigned shares, ``parts`` lists the elements that readers rely on, and
``main_content`` explains why such an element may not be signed.
"""
