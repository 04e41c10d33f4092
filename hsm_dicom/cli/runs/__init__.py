"""Commands on many files: their progress, their summary, their workers, and how they end when they are interrupted."""
