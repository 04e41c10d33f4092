"""Results as text for people and as JSON for programs. ``output`` prints; each other module formats one subject."""
