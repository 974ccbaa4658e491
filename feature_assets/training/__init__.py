"""The loader: training sets whose every value was visible at the instant that its row asks for.

Invariant: rows out equal rows in, in the same order, and a manifest gives back the same bytes for ever.
It reads the offline store and the ledger; it never asks the online store and knows no engine but the kernels.
"""
