"""The answers: features of entities as an online store has them now, each with a status of its own.

Invariant: no value is null because something failed; and what is answered outside of a push's interval is what the
loader returns for that instant.
It writes nothing, and needs neither the lake nor an engine to answer.
"""
