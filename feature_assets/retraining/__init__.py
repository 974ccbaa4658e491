"""From a training set to a model in use: training, the registry, the gate between them.

Invariant: a killed process leaves the old champion or the new one, and never a model without its manifest.
It builds no training set: the caller hands over an Arrow table and the id of its manifest.
"""
