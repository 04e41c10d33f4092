"""The ends of what a listener or a gateway works with: `ends` lists them, `watch` warns before they come."""
