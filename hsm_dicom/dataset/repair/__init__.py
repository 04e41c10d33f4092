"""Clean copies of files that other programs read and hsm-dicom rejects.

``copy`` makes a copy and lists the changes; ``structure`` covers the encoding between values; ``padding`` removes
surplus padding.
"""
