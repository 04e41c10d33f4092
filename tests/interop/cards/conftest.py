"""Tests with cards have a virtual reader."""

from tests.cards.fixtures import pcscd, pin, put_in

__all__ = ["pcscd", "pin", "put_in"]
