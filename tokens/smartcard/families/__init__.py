"""Families of cards: ``iso7816``, ``piv``, ``openpgp``; ``table`` selects one for a card."""
