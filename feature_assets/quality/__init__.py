"""The guards: expectations before data is published, drift against a training baseline, consistency of the copies.

Invariant: what could not be evaluated never counts as passed.
They judge and record; what follows from a judgement is decided by the push and by `feature_assets.retraining`.
"""
