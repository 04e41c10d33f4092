"""Results as text for people and as JSON for programs. ``output`` prints; the other modules word one subject each."""
