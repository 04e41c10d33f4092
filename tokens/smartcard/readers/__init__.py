"""Readers and the connections to the cards in them: ``pcsc`` with ``deadlines``, ``channel``, ``line`` and ``lines``,
``monitor``, ``pinpad``."""
