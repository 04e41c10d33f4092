"""Clean copies of files that other programs read and this one refuses.

``copy`` makes one and states what differs; ``structure`` covers what lies between values; ``padding`` removes surplus
padding.
"""
