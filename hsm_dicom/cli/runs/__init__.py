"""Commands on many files: progress, summary, workers, and interruption."""
