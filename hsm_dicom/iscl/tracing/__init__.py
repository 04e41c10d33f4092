"""Recordings of ISCL exchanges: ``recording`` writes and reads them, ``trace`` explains them."""
