"""The algebra of aggregates: lift records, merge states, finish to values. Pure; one for batch, stream and training."""
