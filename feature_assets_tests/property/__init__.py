"""Clever algorithms against the naive ones, on generated input."""
