"""Measurements side by side: ours and a peer, or ours and a limit, in one run, as ratios.

Each module here has a `run()` that yields `Row`s. `python -m benchmarks` runs them all, or the ones that are named, and
prints Markdown. Machines differ and are shared: a ratio of two things measured in turns means something, a number of
seconds alone does not.
"""
