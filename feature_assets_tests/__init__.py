"""The project's tests, by what kind of proof they give."""
