"""One unit at a time."""
