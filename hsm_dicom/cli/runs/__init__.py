"""How commands run: progress, summary and workers of many files; signals; messages to a service manager."""
