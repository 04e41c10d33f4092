"""Encryption and MACs of ISCL: ``codes`` are the algorithms as values, ``algorithms`` carries them out."""
