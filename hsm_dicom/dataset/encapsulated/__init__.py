"""Encapsulated Pixel Data (PS3.5 A.4): ``fragments`` and the ``codestream`` of a frame."""
