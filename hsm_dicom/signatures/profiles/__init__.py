"""Signature profiles (PS3.15 Annex C): ``rules`` that they set, attribute ``tables`` generated from the standard, and
``purposes`` of signatures."""
