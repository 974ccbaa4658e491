"""Naive answers, obviously right. Nothing here imports the product."""
